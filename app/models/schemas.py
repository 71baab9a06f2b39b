"""Models as the API speaks of them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.models.fitting import FitOut
from app.text import Line

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
ModelName = Annotated[str, StringConstraints(pattern=NAME)]


class ModelRequest(BaseModel):
    """Allows a model. Whether the source exists is for the worker that inspects it to say: the API may not share its disks."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: ModelName = Field(description="what jobs call it", examples=["gemma-3-4b"])
    source: Line = Field(
        min_length=1,
        max_length=1000,
        description="a folder's absolute path on the workers, or a hub id owner/name",
        examples=["/models/gemma-3-4b", "google/gemma-3-4b-it"],
    )
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        None,
        description="the commit of a hub model, 40 hexadecimal digits; for a hub id it is required, for a folder it must be left out",
    )


class ModelOut(BaseModel):
    """A model on the allow-list. `facts` are there once it is `ready`, `fault` when it is `faulty`."""

    name: str
    source: str
    revision: str | None
    state: Literal["inspecting", "ready", "faulty"]
    inspect_job: str | None
    facts: dict[str, Any]
    fault: dict[str, Any] | None
    weights_bytes: dict[str, int] | None = Field(
        description="of its weights, by the dtype they are loaded in; null until it is ready"
    )
    fits: list[FitOut] | None = Field(description="whether they fit each model worker's device; null until it is ready")
    created_by: str
    created_at: datetime
    updated_at: datetime
    removed_at: datetime | None = Field(description="when it left the list; results that were made with it stay")
    links: dict[str, str]


class ModelPage(BaseModel):
    """Models by name."""

    items: list[ModelOut]
    next_cursor: str | None
