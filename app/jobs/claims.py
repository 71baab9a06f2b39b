"""Leases: a worker claims the next job, renews its lease, and reports progress."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Interval, bindparam, func, update
from sqlalchemy.orm import Session

from app.jobs import turns
from app.jobs.models import Job
from app.jobs.states import State
from app.jobs.transitions import EVENTS, Changes, Event, Superseded, changing, places, touch
from app.moments import ahead


@dataclass(frozen=True)
class Claimer:
    """A worker that claims a job. `short_first`: whether the worker now serves generations before other jobs."""

    worker_id: str
    job_class: str
    child_pid: int
    versions: dict[str, int]
    models: list[str] = field(default_factory=list)
    short_first: bool = True

    @property
    def lanes(self) -> tuple[bool, ...]:
        """Returns the lanes that this worker serves, in order: True for the lane of short jobs, False for that of the worker's class."""
        if self.job_class != "model":
            return (False,)
        return (True, False) if self.short_first else (False, True)


@dataclass(frozen=True)
class Lease:
    """The right to run a job until the lease expires. `token` is a fencing token: a write with an older token never changes the row."""

    job: Job
    token: int


@dataclass(frozen=True)
class Reached:
    """Progress of an attempt since its row was last written: events for the phases that the attempt entered, and changed columns of the row."""

    events: Sequence[Event] = ()
    values: Changes = field(default_factory=dict)


_START = changing(
    [Job.id == bindparam("picked"), Job.state.in_([State.QUEUED])],
    {
        "state": State.RUNNING.value, "attempt": Job.attempt + 1, "lease_token": Job.lease_token + 1,
        "lease_expires_at": func.now() + bindparam("ttl", type_=Interval), "worker_id": bindparam("worker"),
        "child_pid": bindparam("pid"), "started_at": func.now(), "progress_at": func.now(), "phase": "starting",
        "progress_done": 0, "progress_total": 0, "progress_unit": "", "eta_at": None, "not_before": None, "overtaken": 0,
    },
    events=1,
)  # fmt: skip
"""The transition to `running`, built once, because every claim runs it."""


def claim(session: Session, claimer: Claimer, *, ttl: float, slice_seconds: float) -> Lease | None:
    """Leases the next ready job to this worker for `ttl` seconds, in one short transaction; returns None when no job is ready.

    Raises turns.Locked while other transactions hold all ready jobs, for example to cancel a job or to submit a job that waits for it.
    """
    lanes = [turns.SHORT if short else claimer.job_class for short in claimer.lanes]
    picked = turns.next_job(
        session, claimer.job_class, lanes=lanes, versions=claimer.versions, models=claimer.models, slice_seconds=slice_seconds
    )
    if picked is None:
        return None
    facts = {"picked": picked, "ttl": timedelta(seconds=ttl), "worker": claimer.worker_id, "pid": claimer.child_pid}
    started = places([("started", {"worker": claimer.worker_id})])
    job: Job | None = session.scalars(_START, {**facts, EVENTS: started}).one_or_none()
    if job is None:  # the job was cancelled at this moment: another job may be ready
        raise turns.Locked
    return Lease(job, job.lease_token)


def renew(session: Session, job_id: str, token: int, ttl: float) -> Job:
    """Extends the lease by `ttl` seconds from now. The returned row says whether the job is to be cancelled. Raises Superseded when the lease
    is lost.
    """
    job = session.scalars(
        update(Job)
        .where(Job.id == job_id, Job.lease_token == token, Job.state.in_([State.RUNNING, State.CANCELLING]))
        .values(lease_expires_at=ahead(seconds=ttl))
        .returning(Job)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one_or_none()
    if job is None:
        raise Superseded(f"{job_id} is not held under lease {token}")
    return job


def report(session: Session, job_id: str, token: int, reached: Reached) -> Job:
    """Writes the phase and progress of a running job. Raises Superseded when the lease is lost."""
    return touch(session, job_id, token=token, values=reached.values, events=reached.events)
