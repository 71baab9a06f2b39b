"""The request schema of a vector import. `app.extractions.imports` checks it against the file."""

import base64
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from app.auth.sharing import Sharing
from app.errors import invalid
from app.extractions.results import VectorOut
from app.http.renamed import RenamedRequest
from app.text import Line
from app.traits.schemas import TraitReference
from terms.components import Component

METHOD = "imported"
"""The method of an imported vector if neither the file nor the request names one."""


def _numbers(value: Any) -> Any:
    """Accepts `3` and "3,4" as lists, because forms have no lists."""
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        return [int(part) if part.isascii() and part.isdigit() and len(part) < 10 else part for part in parts]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


_Layer = Annotated[int, Field(ge=0)]
_Listed = Annotated[str, StringConstraints(pattern=r"^ *[0-9]+ *(, *[0-9]+ *)*$")]
Layers = Annotated[list[_Layer], BeforeValidator(_numbers, json_schema_input_type=list[_Layer] | _Layer | _Listed)]


class ImportFields(Sharing, RenamedRequest):
    """Request fields of a vector import: the model, and what the file does not contain."""

    model_config = ConfigDict(extra="forbid")

    model: Line = Field(min_length=1, max_length=200, description="the registered model that the vectors belong to")
    format: Literal["safetensors", "npy", "gguf"] | None = Field(
        None, description="recognised from the first bytes when left out"
    )
    layers: Layers | None = Field(
        None,
        validation_alias=AliasChoices("vector_layers", "layers"),
        description="the layer of each vector in the file's order (tensors of safetensors: sorted by name), if the file does not name them",
    )
    component: Component | None = None
    position: Line | None = Field(None, max_length=40, examples=["response[:5]"])
    method: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = Field(
        None, description=f"a label; `{METHOD}` if neither the file nor the request has one"
    )
    trait: TraitReference | None = Field(None, description="the trait of the vectors, if this server has it")
    name: Line | None = Field(
        None, max_length=200, description="a name for the vectors; replaces the one of an earlier import of the same file"
    )


class ImportRequest(ImportFields):
    """The same request with the file in base64."""

    file: str = Field(min_length=1, description="the file, in base64")

    def content(self) -> bytes:
        """Returns the bytes of the file. Raises Problem 422."""
        try:
            return base64.b64decode(self.file, validate=True)
        except ValueError as error:
            raise invalid("/file", "invalid_base64", f"/file is not valid base64: {error}.") from error


class ImportedOut(BaseModel):
    """The vectors of the file, by layer."""

    items: list[VectorOut]
