"""Tables of worker nodes and of pauses: by whom, how and until when."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Integer, String, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from terms.documents.jobs import ErrorFacts
from terms.values import JsonObject


class Worker(Base):
    """A worker node as it last reported."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(120), primary_key=True)
    job_class: Mapped[str] = mapped_column(String(10))
    device: Mapped[str] = mapped_column(String(100))
    host: Mapped[str] = mapped_column(String(200))
    parent_pid: Mapped[int] = mapped_column(Integer)
    version: Mapped[str] = mapped_column(String(40))
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    models: Mapped[list[str]] = mapped_column(ARRAY(String(200)), server_default=text("'{}'"), doc="models loaded now")
    memory: Mapped[JsonObject] = mapped_column(JSONB, server_default=text("'{}'"))
    blocked: Mapped[ErrorFacts | None] = mapped_column(
        JSONB(none_as_null=True), doc="why it starts no jobs although no administrator paused it: a full disk"
    )


class DeviceHold(Base):
    """A worker node that is to claim nothing. It outlives the node: a restart must not hand a held card back to the queue."""

    __tablename__ = "device_holds"
    __table_args__ = (CheckConstraint("mode IN ('paused','draining')", name="mode"),)

    worker_id: Mapped[str] = mapped_column(String(120), primary_key=True)
    mode: Mapped[str] = mapped_column(
        String(10), doc="paused: its job continues; draining: its job returns to the queue at the next boundary"
    )
    reason: Mapped[str | None] = mapped_column(String(200))
    held_by: Mapped[str] = mapped_column(String(100))
    held_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), doc="null: until an administrator resumes it")
