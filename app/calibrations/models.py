"""The table of finished calibrations."""

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, String, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from terms.documents.calibration import MassiveDims, Severity


class Calibration(Base):
    """One `calibration.json` and the facts of it that are asked for most: `severity` and `massive_dims` are its objects of these names. The
    weights it describes are named by their hash.
    """

    __tablename__ = "calibrations"
    __table_args__ = (Index("calibrations_model_idx", "model", "created_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    owner: Mapped[str] = mapped_column(String(100))
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    weight_hash: Mapped[str] = mapped_column(String(64))
    reading_hash: Mapped[str | None] = mapped_column(String(64), doc="hash of how texts were read; null if that was not proved")
    severity: Mapped[Severity] = mapped_column(JSONB)
    massive_dims: Mapped[MassiveDims] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
