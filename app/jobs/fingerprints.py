"""What a waiter would want to hear of, for many jobs in a few statements."""

from collections.abc import Hashable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs import claims
from app.jobs.models import Job
from app.jobs.states import State


def fingerprints(session: Session, job_ids: Sequence[str], *, slice_seconds: float) -> dict[str, Hashable]:
    """Per job something that differs when its state, phase, progress, history or place in the queue does."""
    ids = list(job_ids)
    rows = session.execute(
        select(Job.id, Job.state, Job.event_seq, Job.phase, Job.progress_done, Job.eta_at, Job.job_class).where(Job.id.in_(ids))
    ).all()
    places: dict[str, int] = {}
    for job_class in sorted({row.job_class for row in rows if row.state == State.QUEUED}):
        places |= claims.positions(session, job_class, ids, slice_seconds=slice_seconds)
    return {row.id: (row.state, row.event_seq, row.phase, row.progress_done, row.eta_at, places.get(row.id)) for row in rows}
