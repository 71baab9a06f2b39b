"""Says why a job waits, as a stable code and a sentence. Runs no SQL: `standing` gathers the facts for the sentences.

A sentence holds no figure that changes while the job's own situation stays the same (ages, moving times of day), because entity tags
are computed from the sentences too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

from app.jobs.positions import JobsAhead
from app.jobs.schemas import WaitReason
from binnacle.words import counting

NAMED = 2
"""Most running jobs named in one sentence."""
LOADING = WaitReason(code="model_loading", detail="A worker has the job and is loading its model.")


class Fleet(NamedTuple):
    """Numbers of live workers of a job class: `held` are paused or drained, `full` lack disk space, `idle` wait for a job."""

    alive: int = 0
    held: int = 0
    full: int = 0
    idle: int = 0

    @property
    def serving(self) -> int:
        """Returns the number of workers that claim jobs."""
        return self.alive - self.held - self.full


NO_FLEET = Fleet()


@dataclass
class Scene:
    """Facts shared by the reasons of many jobs: the database's time, the workers by job class, and by owner the number of jobs on devices
    and its limit."""

    now: datetime
    fleets: dict[str, Fleet] = field(default_factory=dict)
    running: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Before:
    """An unfinished job that another job waits for, as the viewer may see it. `done` of `total` units of its phase are finished."""

    id: str
    kind: str
    model: str | None
    phase: str
    done: int
    total: int
    running: bool

    @property
    def described(self) -> str:
        """Returns kind, model, phase and how much of the phase is done, as far as known."""
        on = f" on {self.model}" if self.model else ""
        share = f" {self.done * 100 // self.total} %" if self.total else ""
        return f"{self.kind}{on} ({self.phase}{share})"


class WaitingJob(Protocol):
    """The columns of a job that its reason depends on; `losses`: how often in a row its worker was lost."""

    job_class: str
    owner: str
    losses: int
    not_before: datetime | None


def comes_after(jobs: Sequence[Before], count: int) -> WaitReason:
    """Returns the reason of a job that waits for `count` other jobs. `jobs` are the jobs that the viewer may see; running jobs are named."""
    running = [job for job in jobs if job.running]
    doing = ", ".join(job.described for job in running[:NAMED])
    more = f" and {len(running) - NAMED} more" if len(running) > NAMED else ""
    now = f". Running now: {doing}{more}" if running else ""
    return WaitReason(code="after_jobs", detail=f"It waits for {counting.counted(count, 'job')} to end{now}.")


def reason(job: WaitingJob, ahead: JobsAhead | None, scene: Scene, *, counted: bool) -> WaitReason:
    """Returns the first obstacle to the start of a job without unfinished predecessors. Shows counts only if `counted`."""
    job_class, owner = job.job_class, job.owner
    if job.not_before is not None and job.not_before > scene.now:
        detail = f"A part outside the server did not answer. The job is tried again after {job.not_before:%H:%M:%S} UTC."
        return WaitReason(code="backoff", detail=detail)
    fleet = scene.fleets.get(job_class, NO_FLEET)
    if not fleet.serving:
        return _no_worker_serves(job_class, fleet)
    running, may = scene.running.get(owner, (0, 1))
    if job_class == "model" and running >= may:
        so_many = (
            f"{counting.counted(running, 'job')} on devices; the quota (max_running) allows {may}"
            if counted
            else "as many jobs on devices as the quota allows"
        )
        detail = f"{owner} has {so_many}; one of these jobs must end or yield first."
        return WaitReason(code="quota_running", detail=detail)
    if ahead is None or ahead.position == 1:
        return _is_next(job_class, fleet, lost=job.losses > 0)
    return _others_first(ahead, counted=counted)


@lru_cache(maxsize=64)  # one sentence for all jobs of a page
def _no_worker_serves(job_class: str, fleet: Fleet) -> WaitReason:
    if not fleet.alive:
        detail = (
            f"No worker of the class {job_class} is running. The job starts when a worker does; "
            "tell an administrator if none starts within a few minutes."
        )
        return WaitReason(code="no_worker_of_class", detail=detail)
    if fleet.full:
        detail = (
            f"Workers of the class {job_class} start no jobs: too little disk space on {fleet.full}, "
            f"paused or drained by an administrator: {fleet.held}."
        )
        return WaitReason(code="no_disk_space", detail=detail)
    which = "The only worker" if fleet.held == 1 else f"All {fleet.held} workers"
    detail = f"{which} of the class {job_class} {_are(fleet.held)} paused or drained by an administrator; see binnacle status."
    return WaitReason(code="workers_held", detail=detail)


@lru_cache(maxsize=64)
def _is_next(job_class: str, fleet: Fleet, *, lost: bool) -> WaitReason:
    if fleet.idle and lost:  # the worker may still be replacing the process that ended
        detail = (
            "The process that ran it ended early. A worker starts it again when it has a new process, usually within seconds."
        )
        return WaitReason(code="starting", detail=detail)
    if fleet.idle:
        return WaitReason(code="starting", detail="A worker is free and will start it now.")
    which = "the only worker" if fleet.serving == 1 else f"all {fleet.serving} workers"
    return WaitReason(
        code="workers_busy", detail=f"It is next; {which} for jobs of the class {job_class} {_are(fleet.serving)} busy."
    )


def _others_first(ahead: JobsAhead, *, counted: bool) -> WaitReason:
    parts = [
        (ahead.others, f"{ahead.others} of other users with an earlier turn"),
        (ahead.own, f"{ahead.own} of the same user"),
        (ahead.generations, counting.counted(ahead.generations, "generation")),
    ]
    first = f": {', '.join(said for count, said in parts if count)}" if counted else ""
    code = "turn_of_others" if ahead.others or ahead.generations else "own_jobs_first"
    return WaitReason(code=code, detail=f"{counting.counted(ahead.position - 1, 'job')} before it{first}.")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
