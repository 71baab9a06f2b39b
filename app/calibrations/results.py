"""Response schemas of calibrations."""

from datetime import datetime

from pydantic import AliasChoices, BaseModel, Field

from app.calibrations.models import Calibration
from app.http.paging import Page
from app.http.renamed import RenamedAnswer
from app.jobs.labels import Labels
from app.models.models import Model
from app.models.reading import DOUBT, READING, doubt
from app.models.running import RunningOut
from app.quotas.schemas import Admission
from binnacle.words.massive import present_name
from terms.values import JsonField


class CalibrationOut(BaseModel):
    """A finished calibration: its verdict and where its file is."""

    id: str
    job: str
    owner: str
    model: str
    experiment: str | None
    model_variant: str | None = Field(description="null if the request named none and the result does not hold it yet")
    weight_hash: str = Field(description="SHA-256 of the weights it describes")
    stale: bool = Field(description="true: the model's weights have changed since, so this calibration does not describe them")
    reading_hash: str | None = Field(description=READING)
    doubt: str | None = Field(description=DOUBT)
    severity: JsonField
    massive_dims: JsonField = Field(description="every dim that is massive in at least one layer, and the rule that chose them")
    created_at: datetime
    links: dict[str, str]


class CalibrationPage(Page[CalibrationOut]):
    """Calibrations, newest first."""


class CostOut(RenamedAnswer, RunningOut):
    """The estimated cost and the calculation of a request; no job was made."""

    spec: JsonField = Field(description="the request with every default filled in")
    prompts: int
    max_new_tokens: int
    generated_tokens: int
    arithmetic: str = Field(examples=["50 prompts x 128 new tokens = 6,400 generated tokens"])
    limit: int = Field(description="most generated tokens in a job on this server")
    estimated_seconds: float | None = Field(
        description="estimated device time, from earlier calibrations of the model; null if there are too few"
    )
    waits_for: list[str] = Field(validation_alias=AliasChoices("waiting_for", "waits_for"), description="jobs it would wait for")
    admission: Admission = Field(description="whether your quotas admit the request now")


def view(row: Calibration, model: Model, labels: Labels) -> CalibrationOut:
    """Returns the calibration as the API shows it; it is stale when its model was last inspected with other weights."""
    weights = model.facts.get("weight_hash")
    own = f"/v1/calibrations/{row.id}"
    return CalibrationOut(
        id=row.id,
        job=row.job_id,
        owner=row.owner,
        model=row.model,
        experiment=labels.experiment,
        model_variant=labels.model_variant,
        weight_hash=row.weight_hash,
        reading_hash=row.reading_hash,
        stale=weights is not None and weights != row.weight_hash,
        doubt=doubt(model, row.reading_hash),
        severity=row.severity,
        massive_dims=row.massive_dims | {"rule": present_name(row.massive_dims["rule"])},
        created_at=row.created_at,
        links={
            "self": own,
            "calibration.json": f"{own}/calibration.json",
            "job": f"/v1/jobs/{row.job_id}",
            "model": f"/v1/models/{row.model}",
        },
    )
