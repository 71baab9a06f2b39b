"""Tables of webhooks and the outbox. No secret is stored: it is derived from the server's pepper and `salt`."""

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, DateTime, ForeignKey, Index, Integer, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from terms.values import JsonObject

Timestamp = DateTime(timezone=True)


class WebhookTarget(Base):
    """An address that an administrator added; jobs that name it send their message there."""

    __tablename__ = "webhook_targets"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    private: Mapped[bool] = mapped_column(Boolean, server_default=text("false"), doc="its name may lead to a private address")
    salt: Mapped[str] = mapped_column(String(64), doc="with the server's pepper it makes the signing secret")
    created_by: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())


class WebhookDelivery(Base):
    """One message to one target: about a job, written in the transaction that finished it, or a test."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('pending','delivered','failed')", name="state"),
        Index("webhook_deliveries_due_idx", "next_at", postgresql_where=text("state = 'pending'")),
        Index("webhook_deliveries_listed_idx", "created_at", "id"),
        Index("webhook_deliveries_job_idx", "job_id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    target: Mapped[str] = mapped_column(ForeignKey("webhook_targets.name", ondelete="CASCADE"))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), doc="null: a test")
    body: Mapped[JsonObject] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(String(10), server_default=text("'pending'"))
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    next_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    status: Mapped[int | None] = mapped_column(Integer, doc="the last answer's HTTP status")
    error: Mapped[str | None] = mapped_column(Text, doc="why the last attempt failed")
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
