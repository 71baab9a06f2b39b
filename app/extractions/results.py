"""Response schemas of extractions and vectors."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.auth.visibility import Visibility
from app.extractions.models import Extraction, Vector
from app.http.paging import Page
from app.jobs.labels import Labels
from app.models.models import Model
from app.models.reading import DOUBT, READING, doubt, refusal
from app.models.running import RunningOut
from app.quotas.schemas import Admission
from terms.values import JsonField, JsonObject


class VectorOut(BaseModel):
    """One vector. Its numbers are at `links.download`."""

    id: str
    source: Literal["extracted", "imported"]
    extraction: str | None = Field(description="null for an imported vector")
    owner: str
    name: str | None
    model: str
    weight_hash: str | None = Field(description="SHA-256 of the model's weights")
    reading_hash: str | None = Field(description=READING)
    doubt: str | None = Field(description=DOUBT)
    trait: str | None
    trait_version: str | None
    position: str | None
    component: str
    method: str
    layer: int = Field(description="the vector belongs to the output of this decoder block, counted from 0")
    width: int
    key: str = Field(description="position/component/method/layer")
    norm: float | None = Field(description="norm before the vector was scaled to 1")
    separation: dict[str, float | None] = Field(
        description="accuracy, cohens_d and auroc on the held-out examples; they do not predict steering"
    )
    massive_share: float | None = Field(description="share of its squared norm in massive dims; null without a calibration")
    massive_rule: str | None = Field(
        description="the rule that chose these dims; null without a calibration, or if it was not recorded"
    )
    facts: JsonField = Field(description="all stored facts of the vector")
    visibility: Visibility | None = Field(description="who sees it; an extracted vector follows the job that made it")
    group: str | None
    created_at: datetime
    links: dict[str, str]


def vector_view(row: Vector, model: Model | None) -> VectorOut:
    """Returns the vector as the API shows it. An imported vector read no texts here, so it is in doubt only if its model was refused."""
    own = f"/v1/vectors/{row.id}"
    links = {"self": own, "download": f"{own}/download", "model": f"/v1/models/{row.model}"}
    if row.extraction_id is not None:
        links["extraction"] = f"/v1/extractions/{row.extraction_id}"
    if row.trait is not None and row.trait_version is not None:
        links["trait"] = f"/v1/traits/{row.trait}@{row.trait_version[:12]}"
    return VectorOut(
        extraction=row.extraction_id,
        separation={"accuracy": row.accuracy, "cohens_d": row.cohens_d, "auroc": row.auroc},
        massive_rule=massive_rule(row),
        group=row.group_name,
        doubt=refusal(model) if row.source == "imported" else doubt(model, row.reading_hash),
        links=links,
        **{
            name: getattr(row, name)
            for name in VectorOut.model_fields
            if name not in {"extraction", "separation", "massive_rule", "group", "doubt", "links"}
        },
    )


def massive_rule(row: Vector) -> str | None:
    """Returns the rule that chose the massive dims in the vector's facts."""
    massive = row.facts.get("massive")
    return massive and massive.get("rule")


class ExtractionOut(BaseModel):
    """A finished extraction. `vectors` describes each vector; the numbers are in the files."""

    id: str
    job: str
    owner: str
    model: str
    experiment: str | None
    model_variant: str | None
    weight_hash: str
    reading_hash: str | None = Field(description=READING)
    doubt: str | None = Field(description=DOUBT)
    trait: str
    trait_version: str
    positions: list[str]
    components: list[str]
    layers: list[int]
    methods: list[str]
    calibration_job: str | None
    summary: JsonField = Field(description="counts of examples, of empty windows, and of the split")
    vectors: list[JsonField] | None = Field(
        description="for each vector: its share of massive dims and of sampling noise, and its separation; null in lists"
    )
    created_at: datetime
    links: dict[str, str]


class ExtractionPage(Page[ExtractionOut]):
    """Extractions, newest first."""


class VectorPage(Page[VectorOut]):
    """Vectors."""


class CosinesOut(BaseModel):
    """Cosines between the vectors of one layer, position and component, in the order of `methods`."""

    layer: int
    position: str | None
    component: str
    massive_dims: list[int] = Field(description="massive dims of this layer, from the extraction's calibration")
    massive_rule: str | None = Field(
        description="the rule that chose them; null without a calibration, or if it was not recorded"
    )
    methods: list[str]
    before: list[list[float]]
    after: list[list[float]] = Field(description="with the massive dims of every vector set to 0")


class ExtractionCost(RunningOut):
    """The estimated cost and the calculation of a request; no job was made."""

    spec: JsonField
    examples: int
    vectors: int
    generated_tokens: int
    rows_bytes: int
    arithmetic: str
    calibration: str | None = Field(description="the calibration that would be used")
    estimated_seconds: float | None = Field(
        description="estimated device time, from earlier extractions of the model; null if there are too few"
    )
    warnings: list[str] = Field(description="what the result will lack, and what to add; kept with the job")
    admission: Admission = Field(description="whether your quotas admit the request now")


def extraction_view(row: Extraction, vectors: Sequence[Vector] | None, labels: Labels, model: Model | None) -> ExtractionOut:
    """Returns an extraction as the API shows it; with its vectors, also their facts."""
    own = f"/v1/extractions/{row.id}"
    links = {
        "self": own,
        "job": f"/v1/jobs/{row.job_id}",
        "vectors": f"/v1/vectors?extraction={row.id}",
        "cosines": f"{own}/cosines",
        "model": f"/v1/models/{row.model}",
        **{name: f"{own}/{name}" for name in ("extraction.json", "vectors.safetensors", "responses.jsonl")},
    }
    if row.calibration_job is not None:
        links["calibration"] = f"/v1/calibrations/{row.calibration_job}"
    return ExtractionOut(
        job=row.job_id,
        vectors=None if vectors is None else [_made_of(vector) for vector in vectors],
        doubt=doubt(model, row.reading_hash),
        links=links,
        **asdict(labels),
        **{name: getattr(row, name) for name in ExtractionOut.model_fields if hasattr(row, name)},
    )


def _made_of(row: Vector) -> JsonObject:
    massive, stability = row.facts.get("massive"), row.facts.get("stability")
    return {
        "id": row.id,
        "key": row.key,
        "massive_share": row.massive_share,
        "massive_rule": massive_rule(row),
        "noise_share": massive and massive.get("noise_share"),
        "accuracy": row.accuracy,
        "auroc": row.auroc,
        "split_half_cosine": stability and stability.get("split_half_cosine"),
        "converged": (row.facts.get("fit") or {}).get("converged"),
    }
