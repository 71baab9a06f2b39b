"""Database statements that remove history: events of finished jobs, entries of the audit, finished jobs to choose from."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Row, delete, func, select, tuple_
from sqlalchemy.orm import Session

from app.audit.models import AuditEntry
from app.jobs.models import Job, JobEvent
from app.jobs.states import FINISHED
from app.jobs.submission import WARNED

Place = tuple[datetime | None, str]
"""When a job ended, and its id: where the next batch goes on."""


def ended(session: Session, days: float, *, after: Place | None, most: int) -> Sequence[Row[str, str, bool, datetime | None]]:
    """`(id, owner, kept, finished_at)` of jobs that were over so long ago, oldest first, after a place."""
    statement = select(Job.id, Job.owner, Job.kept, Job.finished_at).where(
        Job.finished_at < func.now() - timedelta(days=days), Job.state.in_(list(FINISHED))
    )
    if after is not None:
        statement = statement.where(tuple_(Job.finished_at, Job.id) > after)
    return session.execute(statement.order_by(Job.finished_at, Job.id).limit(most)).all()


def remove_events(session: Session, job_ids: Sequence[str]) -> int:
    """Removes the events of these jobs, but for the warnings, which belong to the job; how many."""
    gone = delete(JobEvent).where(JobEvent.job_id.in_(job_ids), JobEvent.type != WARNED)
    return session.execute(gone.execution_options(synchronize_session=False)).rowcount  # type: ignore[attr-defined, no-any-return]


def remove_audit(session: Session, days: float, *, most: int) -> int:
    """Removes the oldest entries of the audit that happened, also for the last time, so long ago; how many, at most `most`."""
    before = func.now() - timedelta(days=days)
    old = select(AuditEntry.id).where(AuditEntry.at < before, func.coalesce(AuditEntry.last_at, AuditEntry.at) < before)
    gone = delete(AuditEntry).where(AuditEntry.id.in_(old.order_by(AuditEntry.at, AuditEntry.id).limit(most)))
    return session.execute(gone.execution_options(synchronize_session=False)).rowcount  # type: ignore[attr-defined, no-any-return]
