"""Database tables of the job lifecycle. All times come from the database's clock and are compared only with each other.

The two imports of whole modules register the tables `groups` and `blobs`, to which jobs, cells and artifacts refer.
"""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

import app.auth.models
import app.storage.models  # noqa: F401
from app.auth.visibility import Shareable, sharing_checks
from app.db import Base
from app.jobs.states import State
from terms.documents.jobs import ErrorFacts
from terms.values import JsonObject

Timestamp = DateTime(timezone=True)
CLAIMABLE = "state = 'queued' AND blockers = 0"
"""SQL: queued, and no job that it waits for is unfinished."""
UNFINISHED_JOBS = "state IN ('queued','running','cancelling')"
FINISHED_JOBS = "state IN ('succeeded','failed','cancelled')"
HELD_JOBS = "state IN ('running','cancelling')"
ON_DEVICES = f"job_class = 'model' AND {HELD_JOBS}"


class Job(Shareable, Base):
    """A job: the request and everything that happened to it."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("state IN ('queued','running','cancelling','succeeded','failed','cancelled')", name="state"),
        CheckConstraint("job_class IN ('model','light')", name="job_class"),
        CheckConstraint("(state IN ('running','cancelling')) = (worker_id IS NOT NULL)", name="held_by_a_worker"),
        CheckConstraint("blockers >= 0", name="blockers"),
        *sharing_checks(),
        Index("jobs_claimable_idx", "job_class", "short", "owner", text("priority DESC"), "id", postgresql_where=text(CLAIMABLE)),
        Index("jobs_queued_idx", "owner", postgresql_where=text("state = 'queued'")),
        Index("jobs_waiting_idx", "id", postgresql_where=text("state = 'queued'")),
        Index("jobs_on_devices_idx", "owner", postgresql_where=text(ON_DEVICES)),
        Index("jobs_held_idx", "worker_id", postgresql_where=text(HELD_JOBS)),
        Index("jobs_listed_idx", "created_at", "id"),
        Index("jobs_owner_listed_idx", "owner", "created_at", "id"),
        Index("jobs_unfinished_idx", "owner", postgresql_where=text(UNFINISHED_JOBS)),
        Index(
            "jobs_queues_idx",
            "job_class",
            "short",
            "model",
            "state",
            "blockers",
            "queued_at",
            postgresql_where=text(UNFINISHED_JOBS),
        ),
        Index("jobs_finished_idx", "kind", "state", postgresql_where=text(FINISHED_JOBS)),
        Index("jobs_model_listed_idx", "model", "state", "created_at", "id"),
        Index("jobs_old_idx", "finished_at", "id", postgresql_where=text("results_removed_at IS NULL")),
        Index("jobs_kept_idx", "id", postgresql_where=text("kept")),
        Index("jobs_ended_idx", "finished_at", "id", postgresql_where=text("finished_at IS NOT NULL")),
        Index("jobs_words_idx", "words", postgresql_using="gin"),
        Index("jobs_tags_idx", "tags", postgresql_using="gin"),
        Index("jobs_reuse_idx", "kind", "spec_hash", postgresql_where=text("state = 'succeeded'")),
        Index("jobs_retry_of_idx", "retry_of", postgresql_where=text("retry_of IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    job_class: Mapped[str] = mapped_column(String(10))
    short: Mapped[bool] = mapped_column(Boolean, server_default=text("false"), doc="a generation: seconds on a device")
    handler_version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    name: Mapped[str | None] = mapped_column(String(200))
    words: Mapped[str] = mapped_column(
        TSVECTOR, Computed("job_words(name, notes, tags)", persisted=True), nullable=True, deferred=True, doc="for the search"
    )
    tags: Mapped[list[str]] = mapped_column(ARRAY(String(64)), server_default=text("'{}'"))
    notes: Mapped[str | None] = mapped_column(Text)
    spec: Mapped[JsonObject] = mapped_column(JSONB)
    spec_hash: Mapped[str] = mapped_column(String(64))
    model: Mapped[str | None] = mapped_column(String(200))
    priority: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    retry_of: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    request_id: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())

    state: Mapped[State] = mapped_column(String(12), server_default=State.QUEUED.value)
    phase: Mapped[str] = mapped_column(String(60), server_default=text("'queued'"))
    progress_done: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    progress_total: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    progress_unit: Mapped[str] = mapped_column(String(30), server_default=text("''"))
    progress_at: Mapped[datetime | None] = mapped_column(Timestamp)
    eta_at: Mapped[datetime | None] = mapped_column(Timestamp)
    stall_seconds: Mapped[float] = mapped_column(Double, server_default=text("600"))
    max_seconds: Mapped[float] = mapped_column(Double, server_default=text("21600"))

    blockers: Mapped[int] = mapped_column(Integer, server_default=text("0"), doc="edges not yet met")
    not_before: Mapped[datetime | None] = mapped_column(Timestamp, doc="backoff after a transient error")
    overtaken: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), doc="times it was the oldest and a job of a loaded model went first"
    )
    queued_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(Timestamp, doc="start of the latest attempt")
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)

    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"), doc="starts, shown to the user")
    losses: Mapped[int] = mapped_column(Integer, server_default=text("0"), doc="consecutive losses with no newly finished cell")
    lease_token: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), doc="grows with every claim; fences old workers out"
    )
    lease_expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    worker_id: Mapped[str | None] = mapped_column(String(120))
    child_pid: Mapped[int | None] = mapped_column(Integer)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(Timestamp)
    cancelled_by: Mapped[str | None] = mapped_column(String(100))

    error: Mapped[ErrorFacts | None] = mapped_column(JSONB)
    result: Mapped[JsonObject | None] = mapped_column(JSONB)
    device_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"))
    peak_bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    metrics: Mapped[JsonObject] = mapped_column(JSONB, server_default=text("'{}'"))
    event_seq: Mapped[int] = mapped_column(Integer, server_default=text("0"))

    webhook: Mapped[str | None] = mapped_column(String(100), doc="the webhook to notify when the job ends")
    kept: Mapped[bool] = mapped_column(Boolean, server_default=text("false"), doc="true: retention keeps its results")
    results_removed_at: Mapped[datetime | None] = mapped_column(Timestamp, doc="when retention removed its files")


class JobEdge(Base):
    """A dependency: job `job_id` waits until job `after_id` succeeded (`success`) or ended in any state (`end`)."""

    __tablename__ = "job_edges"
    __table_args__ = (CheckConstraint("needs IN ('success','end')", name="needs"), Index("job_edges_after_idx", "after_id"))

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    after_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    needs: Mapped[str] = mapped_column(String(7))


class JobEvent(Base):
    """Append-only history of a job, numbered from 1 without gaps."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    type: Mapped[str] = mapped_column(String(40))
    data: Mapped[JsonObject] = mapped_column(JSONB, server_default=text("'{}'"))


SHARED_CELL = "cell LIKE 'judge:%'"
"""SQL: cells that other jobs may reuse; their names contain a hash of their inputs."""


class JobCell(Base):
    """A finished part of a job, committed as soon as it is finished and never computed again."""

    __tablename__ = "job_cells"
    __table_args__ = (Index("job_cells_shared_idx", "cell", postgresql_where=text(SHARED_CELL)),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    cell: Mapped[str] = mapped_column(String(200), primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("blobs.digest"), index=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())


class Artifact(Base):
    """A named file of a job's result. Access is by this row, never by digest."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("job_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(ForeignKey("blobs.digest"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())


class OwnerTurn(Base):
    """Fair-share record of an owner in a lane (`short`, `model`, `light`): last start and recent device seconds."""

    __tablename__ = "owner_turns"

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    lane: Mapped[str] = mapped_column(String(10), primary_key=True)
    last_started: Mapped[datetime] = mapped_column(Timestamp, server_default=text("'epoch'"))
    recent_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"), doc="device seconds, halved every six hours")
    decayed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())


class IdempotencyKey(Base):
    """A record of a submission under an idempotency key: written in the same transaction as its job, kept for seven days."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_age_idx", "created_at"), Index("idempotency_keys_job_idx", "job_id"))

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    route: Mapped[str] = mapped_column(String(100), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        doc="written before the job, checked at commit",
    )
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
