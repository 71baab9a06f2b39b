"""Database statements that remove history: events of finished jobs, entries of the audit, finished jobs to choose from."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Row, delete, func, select, tuple_
from sqlalchemy.orm import Session

from app.audit.models import AuditEntry
from app.jobs.models import Job, JobEvent
from app.jobs.states import FINISHED
from app.jobs.submission import WARNED
from app.moments import ago

LastEnded = tuple[datetime | None, str]
"""The end time and the id of the last job of a batch; the next batch begins after it."""


def ended(session: Session, days: float, *, after: LastEnded | None, most: int) -> Sequence[Row[str, str, bool, datetime | None]]:
    """Returns `(id, owner, kept, finished_at)` of at most `most` jobs that ended more than `days` days ago, oldest first, after a place."""
    statement = select(Job.id, Job.owner, Job.kept, Job.finished_at).where(
        Job.finished_at < ago(days=days), Job.state.in_(list(FINISHED))
    )
    if after is not None:
        statement = statement.where(tuple_(Job.finished_at, Job.id) > after)
    return session.execute(statement.order_by(Job.finished_at, Job.id).limit(most)).all()


def remove_events(session: Session, job_ids: Sequence[str]) -> int:
    """Removes the events of these jobs, except the warnings, which the job still shows; returns how many were removed."""
    gone = delete(JobEvent).where(JobEvent.job_id.in_(job_ids), JobEvent.type != WARNED)
    return session.execute(gone.execution_options(synchronize_session=False)).rowcount  # type: ignore[attr-defined, no-any-return]


def remove_audit(session: Session, days: float, *, most: int) -> int:
    """Removes the oldest entries of the audit log, at most `most`; returns how many were removed.

    Only entries are removed that happened more than `days` days ago; an entry of a repeated action counts by its last time.
    """
    before = ago(days=days)
    old = select(AuditEntry.id).where(AuditEntry.at < before, func.coalesce(AuditEntry.last_at, AuditEntry.at) < before)
    gone = delete(AuditEntry).where(AuditEntry.id.in_(old.order_by(AuditEntry.at, AuditEntry.id).limit(most)))
    return session.execute(gone.execution_options(synchronize_session=False)).rowcount  # type: ignore[attr-defined, no-any-return]
