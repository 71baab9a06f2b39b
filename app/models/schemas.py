"""Models as the API speaks of them."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
ModelName = Annotated[str, StringConstraints(pattern=NAME)]


class ModelRequest(BaseModel):
    """Allows a model. Whether the source exists is for the worker that inspects it to say: the API may not share its disks."""

    model_config = ConfigDict(extra="forbid")

    name: ModelName = Field(description="what jobs call it", examples=["gemma-3-4b"])
    source: str = Field(
        min_length=1,
        max_length=1000,
        description="a folder's absolute path on the workers, or a hub id owner/name",
        examples=["/models/gemma-3-4b", "google/gemma-3-4b-it"],
    )
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        None,
        description="the commit of a hub model, 40 hexadecimal digits; for a hub id it is required, for a folder it must be left out",
    )

    @model_validator(mode="after")
    def _a_folder_or_a_pinned_hub_model(self) -> "ModelRequest":
        if self.source.startswith("/"):
            if self.revision is not None:
                raise PydanticCustomError("revision_of_a_folder", "A folder has no revision: leave /revision out.")
        elif HUB_ID.fullmatch(self.source) is None:
            raise PydanticCustomError("invalid_source", "/source must be an absolute path (/models/x) or a hub id (owner/name).")
        elif self.revision is None:
            raise PydanticCustomError(
                "revision_missing", "A hub model needs /revision, the 40 digits of a commit, so that it stays as it is."
            )
        return self


class ModelOut(BaseModel):
    """A model on the allow-list. `facts` are there once it is `ready`, `fault` when it is `faulty`."""

    name: str
    source: str
    revision: str | None
    state: Literal["inspecting", "ready", "faulty"]
    inspect_job: str | None
    facts: dict[str, Any]
    fault: dict[str, Any] | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    links: dict[str, str]


class ModelPage(BaseModel):
    """Models by name."""

    items: list[ModelOut]
    next_cursor: str | None
