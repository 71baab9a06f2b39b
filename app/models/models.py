"""The allow-list: models that jobs may name, and what inspecting their files found."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class Model(Base):
    """A model an administrator allowed: a local folder, or a hub id with a pinned revision."""

    __tablename__ = "models"
    __table_args__ = (CheckConstraint("state IN ('inspecting','ready','faulty')", name="state"),)

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    source: Mapped[str] = mapped_column(Text, doc="a folder's absolute path, or owner/name on the hub")
    revision: Mapped[str | None] = mapped_column(String(64), doc="commit of a hub model; null for a folder")
    state: Mapped[str] = mapped_column(String(12), server_default=text("'inspecting'"))
    inspect_job: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    facts: Mapped[dict[str, Any]] = mapped_column(
        JSONB, server_default=text("'{}'"), doc="layers, width, context, hashes, file stats"
    )
    fault: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_by: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    removed_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), doc="when it left the list; the row stays for the results that name it"
    )
