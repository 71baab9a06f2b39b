"""What a waiter would want to hear of, for many jobs in a few statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs.models import Job
from app.jobs.standing import Standing, standings


@dataclass(frozen=True)
class Fingerprint:
    """A job's state, phase, progress, place in the queue and reason to wait, and the number of its last event."""

    state: str
    phase: str
    done: int
    eta_at: datetime | None
    position: int | None
    reason: str | None
    event_seq: int


def fingerprints(session: Session, job_ids: Sequence[str], *, slice_seconds: float) -> dict[str, Fingerprint]:
    """Those of the jobs that exist, by id."""
    rows = session.execute(select(*_COLUMNS).where(Job.id.in_(list(job_ids)))).all()
    standing = standings(session, rows, None, slice_seconds=slice_seconds)
    return {row.id: _fingerprint(row, standing.get(row.id, Standing())) for row in rows}


_COLUMNS = (
    Job.id, Job.state, Job.event_seq, Job.phase, Job.progress_done, Job.eta_at,
    Job.job_class, Job.short, Job.owner, Job.blockers, Job.not_before,
)  # fmt: skip


def _fingerprint(row: Any, standing: Standing) -> Fingerprint:
    reason = None if standing.reason is None else standing.reason.code
    return Fingerprint(row.state, row.phase, row.progress_done, row.eta_at, standing.position, reason, row.event_seq)
