"""Who took a device away from the queue, how, and until when."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class DeviceHold(Base):
    """A worker node that is to claim nothing. It outlives the node: a restart must not hand a held card back to the queue."""

    __tablename__ = "device_holds"
    __table_args__ = (CheckConstraint("mode IN ('paused','draining')", name="mode"),)

    worker_id: Mapped[str] = mapped_column(String(120), primary_key=True)
    mode: Mapped[str] = mapped_column(String(10), doc="paused: its job goes on; draining: its job goes back at the next boundary")
    reason: Mapped[str | None] = mapped_column(String(200))
    held_by: Mapped[str] = mapped_column(String(100))
    held_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), doc="null: until somebody resumes it")
