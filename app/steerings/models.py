"""The table of finished steerings."""

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, String, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from terms.documents.steering import ShortSummary


class Steering(Base):
    """A finished steering: what it compared, and its summary. Runs and texts are artifacts of its job."""

    __tablename__ = "steerings"
    __table_args__ = (Index("steerings_listed_idx", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    owner: Mapped[str] = mapped_column(String(100))
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    weight_hash: Mapped[str] = mapped_column(String(64))
    reading_hash: Mapped[str | None] = mapped_column(String(64), doc="hash of how texts were read; null if that was not proved")
    trait: Mapped[str | None] = mapped_column(String(100))
    trait_version: Mapped[str | None] = mapped_column(String(64))
    judge: Mapped[str] = mapped_column(String(100))
    rescore_of: Mapped[str | None] = mapped_column(String(40))
    summary: Mapped[ShortSummary] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
