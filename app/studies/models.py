"""The table of studies: one row per study, inserted at submission. A study's Job is the report job at the end of its graph."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, String, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.jobs.models import Job
from terms.documents.study import StudyNode
from terms.values import JsonObject


class Study(Base):
    """A study. `nodes` are the graph's jobs by name, `{"calibrate/demo-severe": {"place": 0, "job": ..., "kind": ..., "reused": false,
    ...}}`.

    `place` is the order of submission, which JSON objects in Postgres do not keep.
    """

    __tablename__ = "studies"
    __table_args__ = (Index("studies_listed_idx", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    owner: Mapped[str] = mapped_column(String(100))
    title: Mapped[str | None] = mapped_column(String(200))  # the name at submission, for earlier versions; readers take the job's
    spec: Mapped[JsonObject] = mapped_column(JSONB)
    nodes: Mapped[dict[str, StudyNode]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


def as_edited(spec: JsonObject, report: Job) -> JsonObject:
    """Returns a study's request with the name, tags, notes and webhook that its report's job has now."""
    return spec | {name: getattr(report, name) for name in ("name", "tags", "notes", "webhook")}


def in_order(nodes: Mapping[str, StudyNode]) -> list[tuple[str, StudyNode]]:
    """Returns the nodes with their names, in the order of submission."""
    return sorted(nodes.items(), key=lambda named: named[1]["place"])
