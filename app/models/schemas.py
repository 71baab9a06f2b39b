"""Request and response schemas of models."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.http.paging import Page
from app.models.fitting import FitOut
from app.text import Line
from terms.documents.passport import Outcome
from terms.values import JsonField

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
ModelName = Annotated[str, StringConstraints(pattern=NAME)]


class ModelRequest(BaseModel):
    """A request to add a model. The worker that inspects the model finds out whether the source exists: the API may not share its disks."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: ModelName = Field(description="the name that jobs use", examples=["gemma-3-4b"])
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


class ProofOut(BaseModel):
    """One property that was checked on the model's own files and weights."""

    name: str
    outcome: Outcome
    figure: float
    unit: str
    sentence: str = Field(description="what was found and, if something is wrong, what to do")


class ModelOut(BaseModel):
    """A model on the allow-list. `facts` are there once it is inspected, `proofs` once it is proved, `fault` when it is `faulty`."""

    name: str
    source: str
    revision: str | None
    state: Literal["inspecting", "proving", "ready", "faulty"] = Field(
        description="jobs may use the model in every state but `faulty`; they wait until it is `ready`"
    )
    outcome: Literal[Outcome, "unproven"] = Field(
        description="the worst outcome of its proofs; `unproven` before they ran, also for a ready model of an older inspection"
    )
    proofs: list[ProofOut]
    proved_with: JsonField | None = Field(description="versions of the proofs and the libraries, type, kind of device")
    inspect_job: str | None
    prove_job: str | None = Field(
        description="the job that proves the model; jobs that use the model before it is ready wait for it"
    )
    facts: JsonField
    fault: JsonField | None
    weights_bytes: dict[str, int] | None = Field(description="bytes of its weights by dtype; null until it is inspected")
    fits: list[FitOut] | None = Field(
        description="whether the weights fit each model worker's device; null until it is inspected"
    )
    created_by: str
    created_at: datetime
    updated_at: datetime
    removed_at: datetime | None = Field(description="when it was removed from the list; its results stay")
    links: dict[str, str]


class ModelPage(Page[ModelOut]):
    """Models by name."""
