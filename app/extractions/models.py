"""Finished extractions, and every vector that can be steered with, extracted or imported."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Double, ForeignKey, Index, Integer, String, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.auth.visibility import Shareable, Visibility, sharing_checks
from app.db import Base
from terms.documents.extraction import ExtractionSummary, ImportedFacts, VectorFacts


class Extraction(Base):
    """A finished extraction; `rows_key` identifies its captured rows, so that another extraction may read them again."""

    __tablename__ = "extractions"
    __table_args__ = (Index("extractions_listed_idx", "created_at", "id"), Index("extractions_rows_idx", "rows_key"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    owner: Mapped[str] = mapped_column(String(100))
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    weight_hash: Mapped[str] = mapped_column(String(64))
    reading_hash: Mapped[str | None] = mapped_column(String(64), doc="hash of how texts were read; null if that was not proved")
    trait: Mapped[str] = mapped_column(String(100))
    trait_version: Mapped[str] = mapped_column(String(64))
    positions: Mapped[list[str]] = mapped_column(ARRAY(String(40)))
    components: Mapped[list[str]] = mapped_column(ARRAY(String(30)))
    layers: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    methods: Mapped[list[str]] = mapped_column(ARRAY(String(200)))
    calibration_job: Mapped[str | None] = mapped_column(String(40))
    rows_key: Mapped[str | None] = mapped_column(String(64))
    summary: Mapped[ExtractionSummary] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


METRICS = ("accuracy", "cohens_d", "auroc", "massive_share")
"""Columns of vectors that lists can be sorted by."""


class Vector(Shareable, Base):
    """A unit vector, stored under `key` in the safetensors object `digest`. Lists filter and sort by the columns; the rest is in `facts`.

    An extracted vector has the visibility of the job that made it: triggers of the database copy it (migration 0010), so that a list of
    vectors reads no jobs.
    """

    __tablename__ = "vectors"
    __table_args__ = (
        CheckConstraint("source IN ('extracted','imported')", name="source"),
        CheckConstraint("(source = 'extracted') = (extraction_id IS NOT NULL)", name="extracted_by"),
        *sharing_checks(),
        Index("vectors_found_idx", "model", "trait", "method", "layer"),
        Index("vectors_listed_idx", "created_at", "id"),
        Index("vectors_model_listed_idx", "model", "created_at", "id"),
        Index("vectors_owner_listed_idx", "owner", "created_at", "id"),
        Index("vectors_public_idx", "created_at", "id", postgresql_where=text("visibility = 'public'")),
        *(Index(f"vectors_{metric}_idx", text(f"{metric} DESC NULLS LAST"), "id") for metric in METRICS),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    source: Mapped[str] = mapped_column(String(10))
    extraction_id: Mapped[str | None] = mapped_column(ForeignKey("extractions.id", ondelete="CASCADE"), index=True)
    visibility: Mapped[Visibility | None] = mapped_column(String(7))  # type: ignore[assignment]
    name: Mapped[str | None] = mapped_column(String(200))
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    weight_hash: Mapped[str | None] = mapped_column(String(64))
    reading_hash: Mapped[str | None] = mapped_column(String(64), doc="hash of how texts were read; null if that was not proved")
    trait: Mapped[str | None] = mapped_column(String(100))
    trait_version: Mapped[str | None] = mapped_column(String(64))
    position: Mapped[str | None] = mapped_column(String(40))
    component: Mapped[str] = mapped_column(String(30))
    method: Mapped[str] = mapped_column(String(200))
    layer: Mapped[int] = mapped_column(Integer)
    width: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str] = mapped_column(ForeignKey("blobs.digest"), index=True)
    key: Mapped[str] = mapped_column(String(300))
    norm: Mapped[float | None] = mapped_column(Double, doc="before scaling to one")
    accuracy: Mapped[float | None] = mapped_column(Double)
    cohens_d: Mapped[float | None] = mapped_column(Double)
    auroc: Mapped[float | None] = mapped_column(Double)
    massive_share: Mapped[float | None] = mapped_column(Double, doc="share of squared norm in massive dims")
    facts: Mapped[VectorFacts | ImportedFacts] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
