"""Where a job stands: its place in the queue and why it waits, for many jobs in a few statements.

A reason is a stable code and a sentence. Sentences hold no figure that changes while the job's own situation does not (ages, times of
day that move on): they are part of what entity tags are made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.jobs import turns
from app.jobs.models import Job, JobEdge, Worker
from app.jobs.schemas import WaitReason
from app.jobs.states import FINISHED, HELD, State
from app.jobs.turns import Place
from app.quotas.models import UNLIMITED

SILENT_SECONDS = 90.0
"""A worker not heard of for so long is not counted on; it says that it is there every few seconds."""
NAMED = 3
LOADING = "loading model"
"""The phase in which a worker loads a job's model."""


class Row(Protocol):
    """What must be known of a job: a Job, or as many of its columns."""

    id: str
    state: State
    phase: str
    job_class: str
    short: bool
    owner: str
    blockers: int
    not_before: datetime | None


@dataclass(frozen=True)
class Standing:
    """`position` 1 is next, None is not in the queue; `after` are the jobs it comes after that are not over."""

    position: int | None = None
    reason: WaitReason | None = None
    after: Sequence[str] = ()


@dataclass
class _Fleet:
    """The workers of a class that are there, and how many of them could take a job."""

    alive: int = 0
    idle: int = 0


@dataclass
class _Scene:
    """What the reasons of many jobs have in common."""

    now: datetime
    fleets: dict[str, _Fleet] = field(default_factory=dict)
    running: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By owner: jobs on devices, and how many there may be."""


def standings(session: Session, jobs: Sequence[Row], *, slice_seconds: float, edges: bool = True) -> dict[str, Standing]:
    """Of every job that is queued or loads its model; the others stand nowhere. Without `edges`, `after` is left empty."""
    queued = [job for job in jobs if job.state == State.QUEUED]
    found = {job.id: Standing(reason=_LOADING) for job in jobs if job.state == State.RUNNING and job.phase == LOADING}
    if not queued:
        return found
    after = _unmet(session, [job.id for job in queued if job.blockers]) if edges else {}
    ready = [job for job in queued if job.blockers == 0]
    places: dict[str, Place] = {}
    for job_class in sorted({job.job_class for job in ready}):
        ids = [job.id for job in ready if job.job_class == job_class]
        places |= turns.places(session, job_class, ids, slice_seconds=slice_seconds)
    scene = _scene(session, ready)
    for job in queued:
        place = places.get(job.id)
        reason = _after(after.get(job.id, []), job.blockers) if job.blockers else _reason(job, place, scene)
        found[job.id] = Standing(None if place is None else place.position, reason, after.get(job.id, ()))
    return found


_LOADING = WaitReason(code="model_loading", detail="It has a worker, which is loading its model.")


def _unmet(session: Session, ids: Sequence[str]) -> dict[str, list[str]]:
    """For each of these jobs, the jobs it comes after that are not over."""
    if not ids:
        return {}
    rows = session.execute(
        select(JobEdge.job_id, JobEdge.after_id)
        .join(Job, Job.id == JobEdge.after_id)
        .where(JobEdge.job_id.in_(ids), Job.state.not_in(list(FINISHED)))
        .order_by(JobEdge.after_id)
    )
    found: dict[str, list[str]] = {}
    for job_id, after_id in rows:
        found.setdefault(job_id, []).append(after_id)
    return found


def _scene(session: Session, ready: Sequence[Row]) -> _Scene:
    now = session.scalar(select(func.now()))
    assert now is not None
    if not ready:
        return _Scene(now)
    held = select(Job.worker_id).where(Job.state.in_(list(HELD)))
    workers = session.execute(
        select(Worker.job_class, func.count().label("alive"), func.count().filter(Worker.id.not_in(held)).label("idle"))
        .where(Worker.seen_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, SILENT_SECONDS))
        .group_by(Worker.job_class)
    )
    fleets = {row.job_class: _Fleet(row.alive, row.idle) for row in workers}
    owners = sorted({job.owner for job in ready if job.job_class == "model"})
    counts = session.execute(_RUNNING, {"owners": owners}) if owners else ()
    return _Scene(now, fleets, {row.owner: (row.running, row.may) for row in counts})


_RUNNING = text(f"""
SELECT o.owner, {turns.max_running("o.owner")} AS may, (
    SELECT count(*) FROM jobs r WHERE r.owner = o.owner AND r.job_class = 'model' AND r.state IN ('running', 'cancelling')
) AS running FROM unnest(CAST(:owners AS text[])) AS o(owner)""")


def _after(jobs: Sequence[str], count: int) -> WaitReason:
    more = f" and {len(jobs) - NAMED} more" if len(jobs) > NAMED else ""
    names = f": {', '.join(jobs[:NAMED])}{more}" if jobs else ""
    return WaitReason(code="after_jobs", detail=f"It comes after {_counted(count, 'job')} not over yet{names}.")


def _reason(job: Row, place: Place | None, scene: _Scene) -> WaitReason:
    fleet = scene.fleets.get(job.job_class, _Fleet())
    running, may = scene.running.get(job.owner, (0, UNLIMITED))
    if job.not_before is not None and job.not_before > scene.now:
        when = f"{job.not_before:%H:%M:%S} UTC"
        return WaitReason(code="backoff", detail=f"Something outside the server was down; it is tried again after {when}.")
    if not fleet.alive:
        detail = f"No worker of the class {job.job_class} is running. It starts when one does; tell whoever runs the server."
        return WaitReason(code="no_worker_of_class", detail=detail)
    if job.job_class == "model" and running >= may:
        detail = f"{job.owner} has {_counted(running, 'job')} on devices and may have {may} at once; one must end or yield first."
        return WaitReason(code="quota_running", detail=detail)
    if place is None or place.position == 1:
        if fleet.idle:
            return WaitReason(code="starting", detail="A worker is free and about to take it.")
        busy = "the only worker" if fleet.alive == 1 else f"all {fleet.alive} workers"
        return WaitReason(
            code="workers_busy", detail=f"It is next; {busy} of the class {job.job_class} {_are(fleet.alive)} busy."
        )
    parts = [
        (place.others, f"{place.others} of other users by their turns"),
        (place.own, f"{place.own} of the same user"),
        (place.looks, f"{place.looks} by the short lane"),
    ]
    first = ", ".join(said for count, said in parts if count)
    code = "turn_of_others" if place.others or place.looks else "own_jobs_first"
    return WaitReason(code=code, detail=f"{_counted(place.position - 1, 'job')} before it: {first}.")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
