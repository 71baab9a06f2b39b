"""The audit table: one row for each action; repeated actions of ordinary users on a day are counted in one row."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Index, Integer, String, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from terms.values import JsonObject


class AuditEntry(Base):
    """`actor` did `action` to `object`. Stores names, not foreign keys, so entries stay when the object is deleted."""

    __tablename__ = "audit"
    __table_args__ = (
        CheckConstraint("outcome IN ('done','denied')", name="outcome"),
        Index("audit_listed_idx", "at", "id"),
        Index("audit_actor_idx", "actor", "at"),
        Index("audit_object_idx", "object", "at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    actor: Mapped[str] = mapped_column(String(120))
    key_id: Mapped[str | None] = mapped_column(String(12), doc="null: without a key, on the server itself")
    action: Mapped[str] = mapped_column(String(60), doc="what was acted on and how, `key.revoke`")
    object: Mapped[str] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(10), server_default=text("'done'"))
    request_id: Mapped[str | None] = mapped_column(String(64))
    count: Mapped[int] = mapped_column(Integer, server_default=text("1"), doc="how often on that day")
    last_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), doc="the last time, if the action was repeated that day"
    )
    slot: Mapped[str | None] = mapped_column(
        String(80), unique=True, doc="day and SHA-256 of actor, key, action, object, outcome and details; null for administrators"
    )
    details: Mapped[JsonObject] = mapped_column(JSONB, server_default=text("'{}'"))
