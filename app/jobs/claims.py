"""The lease: a worker claims the next job, renews its right to run it, and reports progress."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import func, text, update
from sqlalchemy.orm import Session

from app.jobs import turns
from app.jobs.models import Job
from app.jobs.states import State
from app.jobs.transitions import Changes, Event, Superseded, touch, transition


@dataclass(frozen=True)
class Claimer:
    """The worker that asks for a job. `short_first`: whether generations go before other jobs just now."""

    worker_id: str
    job_class: str
    child_pid: int
    versions: dict[str, int]
    models: list[str] = field(default_factory=list)
    short_first: bool = True

    @property
    def lanes(self) -> tuple[bool, ...]:
        """For each lane that this worker serves, in their order, whether it is the short one."""
        if self.job_class != "model":
            return (False,)
        return (True, False) if self.short_first else (False, True)


@dataclass(frozen=True)
class Lease:
    """The right to run a job, as long as it is renewed. `token` fences: no write of an older token touches the row."""

    job: Job
    token: int


@dataclass(frozen=True)
class Reached:
    """How far an attempt has come since its row was last written: the phases it entered, as events, and the row's columns."""

    events: Sequence[Event] = ()
    values: Changes = field(default_factory=dict)


def claim(session: Session, claimer: Claimer, *, ttl: float, slice_seconds: float) -> Lease | None:
    """The next job for this worker, now leased to it for `ttl` seconds, or None when nothing is ready. One short transaction.

    Raises turns.Locked: a job that a new one is just being put behind, or that is being cancelled, cannot be had for a moment.
    """
    lanes = [turns.SHORT if short else claimer.job_class for short in claimer.lanes]
    picked = turns.next_job(
        session, claimer.job_class, lanes=lanes, versions=claimer.versions, models=claimer.models, slice_seconds=slice_seconds
    )
    if picked is None:
        return None
    try:
        job = transition(
            session, picked, [State.QUEUED], State.RUNNING, event="started", data={"worker": claimer.worker_id},
            values={
                "attempt": Job.attempt + 1, "lease_token": Job.lease_token + 1,
                "lease_expires_at": func.now() + timedelta(seconds=ttl), "worker_id": claimer.worker_id,
                "child_pid": claimer.child_pid, "started_at": text("now()"), "progress_at": text("now()"), "phase": "starting",
                "progress_done": 0, "progress_total": 0, "progress_unit": "", "eta_at": None, "not_before": None, "overtaken": 0,
            },
        )  # fmt: skip
    except Superseded:  # cancelled in this very moment: what comes after it may be ready
        raise turns.Locked from None
    return Lease(job, job.lease_token)


def renew(session: Session, job_id: str, token: int, ttl: float) -> Job:
    """Another `ttl` seconds. The returned row says whether cancelling was asked for. Raises Superseded when the lease is lost."""
    job = session.scalars(
        update(Job)
        .where(Job.id == job_id, Job.lease_token == token, Job.state.in_([State.RUNNING, State.CANCELLING]))
        .values(lease_expires_at=func.now() + timedelta(seconds=ttl))
        .returning(Job)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one_or_none()
    if job is None:
        raise Superseded(f"{job_id} is not held under lease {token}")
    return job


def report(session: Session, job_id: str, token: int, reached: Reached) -> Job:
    """Writes phase and progress of a held job. Raises Superseded when the lease is lost."""
    return touch(session, job_id, token=token, values=reached.values, events=reached.events)
