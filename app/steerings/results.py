"""Response schemas of steerings."""

from datetime import datetime

from pydantic import AliasChoices, BaseModel, Field

from app.http.paging import Page
from app.http.renamed import RenamedAnswer
from app.jobs.measures import with_names
from app.models.models import Model
from app.models.reading import DOUBT, READING, doubt
from app.models.running import RunningOut
from app.quotas.schemas import Admission
from app.steerings.models import Steering
from terms.values import JsonField


class SteeringOut(BaseModel):
    """A finished steering: per method the chosen layer and dose, the gain on test questions with its interval, and the controls."""

    id: str
    job: str
    owner: str
    model: str
    weight_hash: str
    reading_hash: str | None = Field(description=READING)
    doubt: str | None = Field(description=DOUBT)
    trait: str | None
    trait_version: str | None
    judge: str
    rescore_of: str | None = Field(description="the steering that supplied the texts")
    summary: JsonField = Field(description="the main rows of summary.json; a person reads `methods` first")
    created_at: datetime
    links: dict[str, str]


class SteeringPage(Page[SteeringOut]):
    """Steerings, newest first."""


class RunsOut(Page[JsonField]):
    """Runs of a steering: one set of questions under one intervention each, with mean scores."""


class SteeringCost(RenamedAnswer, RunningOut):
    """The estimated cost and the calculation of a request; no job was made."""

    spec: JsonField
    cells: int = Field(description="vectors x layers for which a dose is searched")
    answers: int = Field(description="most answers to generate")
    judge_answers: int = Field(
        description="most unsteered answers to generate for fitting the judge; none are where an equal one is kept, or where it is not fitted"
    )
    arithmetic: str
    limit: int = Field(description="most answers in a job on this server")
    generated_tokens: int
    estimated_seconds: float | None = Field(
        description="estimated device time, its judge prepared, from earlier steerings of the model; null if there are too few"
    )
    waits_for: list[str] = Field(validation_alias=AliasChoices("waiting_for", "waits_for"), description="jobs it would wait for")
    warnings: list[str] = Field(description="what the result will lack, and what to add; kept with the job")
    makes_extraction: bool = Field(description="true: no extraction fits; one would be made first, at its own cost")
    admission: Admission = Field(description="whether your quotas admit the request now")


def view(row: Steering, model: Model | None) -> SteeringOut:
    """Returns a steering as the API shows it."""
    own = f"/v1/steerings/{row.id}"
    files = {name: f"{own}/{name}" for name in ("summary.json", "runs.jsonl", "responses.jsonl", "results.jsonl")}
    return SteeringOut(
        id=row.id,
        job=row.job_id,
        owner=row.owner,
        model=row.model,
        weight_hash=row.weight_hash,
        reading_hash=row.reading_hash,
        doubt=doubt(model, row.reading_hash),
        trait=row.trait,
        trait_version=row.trait_version,
        judge=row.judge,
        rescore_of=row.rescore_of,
        summary=with_names(row.summary),
        created_at=row.created_at,
        links={"self": own, "runs": f"{own}/runs", "responses": f"{own}/responses", "job": f"/v1/jobs/{row.job_id}", **files},
    )
