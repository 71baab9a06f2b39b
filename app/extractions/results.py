"""Vectors as the API shows them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.extractions.models import Vector


class VectorOut(BaseModel):
    """One vector that can be steered with. Its numbers are behind `links.download`."""

    id: str
    source: Literal["extracted", "imported"]
    extraction: str | None = Field(description="null for an imported one")
    owner: str
    name: str | None
    model: str
    weight_hash: str | None = Field(description="sha256 of the weights it was made from, or for which it was imported")
    trait: str | None
    trait_version: str | None
    position: str | None
    component: str
    method: str
    layer: int = Field(description="the output of this decoder block, 0-based")
    width: int
    key: str = Field(description="position/component/method/layer")
    norm: float | None = Field(description="before it was scaled to one")
    separation: dict[str, float | None] = Field(
        description="accuracy, cohens_d and auroc on the held-out examples; they do not predict steering"
    )
    massive_share: float | None = Field(description="share of its squared norm in massive dims; null without a calibration")
    facts: dict[str, Any] = Field(description="everything that was stored with it")
    created_at: datetime
    links: dict[str, str]


def vector_view(row: Vector) -> VectorOut:
    """The vector as the API shows it."""
    own = f"/v1/vectors/{row.id}"
    links = {"self": own, "download": f"{own}/download", "model": f"/v1/models/{row.model}"}
    if row.extraction_id is not None:
        links["extraction"] = f"/v1/extractions/{row.extraction_id}"
    if row.trait is not None and row.trait_version is not None:
        links["trait"] = f"/v1/traits/{row.trait}@{row.trait_version[:12]}"
    return VectorOut(
        extraction=row.extraction_id,
        separation={"accuracy": row.accuracy, "cohens_d": row.cohens_d, "auroc": row.auroc},
        links=links,
        **{name: getattr(row, name) for name in VectorOut.model_fields if name not in {"extraction", "separation", "links"}},
    )
