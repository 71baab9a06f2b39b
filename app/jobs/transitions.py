"""Changes a job's row and notifies listeners: one compare-and-set UPDATE, its event and its notification, in one transaction.

If the UPDATE touches no row, another process changed the job first. `Superseded` is raised, and the caller must stop.
"""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from app.jobs.models import Job
from app.jobs.states import ARROWS, FINISHED, State
from app.webhooks.outbox import announce

CHANNEL = "binnacle_jobs"
_APPEND = text("""
WITH event AS (INSERT INTO job_events (job_id, seq, type, data) VALUES (:job, :seq, :type, CAST(:data AS jsonb)))
SELECT pg_notify(:channel, :job)""")


class Superseded(Exception):
    """The row was not in the expected state or under the expected lease: the change did not happen."""


def transition(
    session: Session,
    job_id: str,
    source: Iterable[State],
    target: State,
    *,
    token: int | None = None,
    event: str,
    data: dict[str, Any] | None = None,
    **values: Any,
) -> Job:
    """Moves the job along one arrow of the state graph (`ARROWS`) and returns its new row.

    `token` is the caller's lease; None for arrows without a lease (a queued job, or the reconciler, which matched the lease itself).
    Raises Superseded when the job is in none of the `source` states or under another lease, ValueError for an arrow that does not exist.
    """
    sources = [state for state in source if target in ARROWS[state]]
    if not sources:
        raise ValueError(f"no arrow leads to {target}")
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state.in_(sources))
        .values(state=target.value, event_seq=Job.event_seq + 1, **values)
        .returning(Job)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    if token is not None:
        statement = statement.where(Job.lease_token == token)
    job = session.scalars(statement).one_or_none()
    if job is None:
        raise Superseded(f"{job_id} is not {' or '.join(sources)}{'' if token is None else f' under lease {token}'}")
    _append(session, job, event, data)
    if target in FINISHED:
        announce(session, job)
    return job


def touch(
    session: Session, job_id: str, *, token: int, event: str | None = None, data: dict[str, Any] | None = None, **values: Any
) -> Job:
    """Changes columns of a held job (phase, progress, lease) without moving it; with `event`, also adds it to the history.

    Raises Superseded when the caller no longer holds the lease.
    """
    if event is not None:
        values["event_seq"] = Job.event_seq + 1
    job = session.scalars(
        update(Job)
        .where(Job.id == job_id, Job.lease_token == token, Job.state.in_([State.RUNNING, State.CANCELLING]))
        .values(**values)
        .returning(Job)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one_or_none()
    if job is None:
        raise Superseded(f"{job_id} is not held under lease {token}")
    if event is not None:
        _append(session, job, event, data)
    else:
        notify(session, job_id)
    return job


def note(session: Session, job_id: str, event: str, data: dict[str, Any]) -> None:
    """Adds an event to the job's history and changes nothing else."""
    job = session.scalars(
        update(Job)
        .where(Job.id == job_id)
        .values(event_seq=Job.event_seq + 1)
        .returning(Job)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one()
    _append(session, job, event, data)


def born(session: Session, job: Job, data: dict[str, Any]) -> None:
    """Writes the first event of a new job (its row was inserted with `event_seq` 1)."""
    _append(session, job, "submitted", data)


def notify(session: Session, job_id: str) -> None:
    """Notifies listeners of a change of this job when the transaction commits."""
    session.execute(text("SELECT pg_notify(:channel, :job)"), {"channel": CHANNEL, "job": job_id})


def _append(session: Session, job: Job, event: str, data: dict[str, Any] | None) -> None:
    """Writes the event and sends the notification in one SQL statement."""
    written = json.dumps(data or {})
    session.execute(_APPEND, {"job": job.id, "seq": job.event_seq, "type": event, "data": written, "channel": CHANNEL})
