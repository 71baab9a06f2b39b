"""What a waiter would want to hear of, for many jobs in a few statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs import claims
from app.jobs.models import Job
from app.jobs.states import State


@dataclass(frozen=True)
class Fingerprint:
    """A job's state, phase, progress and place in the queue, and the number of its last event."""

    state: str
    phase: str
    done: int
    eta_at: datetime | None
    position: int | None
    event_seq: int


def fingerprints(session: Session, job_ids: Sequence[str], *, slice_seconds: float) -> dict[str, Fingerprint]:
    """Those of the jobs that exist, by id."""
    ids = list(job_ids)
    rows = session.execute(
        select(Job.id, Job.state, Job.event_seq, Job.phase, Job.progress_done, Job.eta_at, Job.job_class).where(Job.id.in_(ids))
    ).all()
    places: dict[str, int] = {}
    for job_class in sorted({row.job_class for row in rows if row.state == State.QUEUED}):
        places |= claims.positions(session, job_class, ids, slice_seconds=slice_seconds)
    return {
        row.id: Fingerprint(row.state, row.phase, row.progress_done, row.eta_at, places.get(row.id), row.event_seq)
        for row in rows
    }
