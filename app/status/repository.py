"""Database statements for the status board."""

from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import ColumnElement, Float, case, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.auth.visibility import parameters_of, seen, seen_by_parameters
from app.devices.models import DeviceHold, Worker
from app.devices.repository import GONE_SECONDS, SILENT, in_force
from app.devices.schemas import BlockedOut, HoldOut
from app.errors import not_found
from app.jobs.models import Job
from app.jobs.standing import standings
from app.jobs.states import HELD, State
from app.jobs.turns import QUEUES, SHORT, lane_of, queue_of
from app.status.schemas import QueueOut, WaitingOut, WorkerOut
from app.tallies import FINISHED, tally

LOOKED_AT, SHOWN = 200, 20
"""Most waiting jobs that the board reads, and that it shows."""


@dataclass(slots=True)
class Queued:
    """What the board reads of a waiting job; spec and result may be long."""

    id: str
    kind: str
    model: str | None
    name: str | None
    owner: str
    job_class: str
    short: bool
    state: State
    phase: str
    blockers: int
    losses: int
    not_before: datetime | None


_QUEUED = {
    admin: select(*(Job.__table__.c[field.name] for field in fields(Queued)))
    # the state is written out, so that a prepared plan may use the partial index
    .where(seen_by_parameters(Job, admin=admin), text("state = 'queued'"))
    .order_by(Job.id)
    .limit(LOOKED_AT)
    for admin in (False, True)
}
"""Built once, because every open status page runs it every few seconds."""


def workers(session: Session, viewer: Viewer, *, lease_seconds: float) -> list[WorkerOut]:
    """Returns every worker node seen within `GONE_SECONDS`, or that still has a job, with what it does now."""
    return _workers(session, viewer, or_(SILENT < GONE_SECONDS, Job.id.is_not(None)), lease_seconds)


def worker(session: Session, viewer: Viewer, name: str, *, lease_seconds: float) -> WorkerOut:
    """Returns the worker node of this name, even if it left the board, because a hold outlives it. Raises Problem 404."""
    nodes = _workers(session, viewer, Worker.id == name, lease_seconds)
    if not nodes:
        raise not_found("device", name)
    return nodes[0]


def _workers(session: Session, viewer: Viewer, wanted: ColumnElement[bool], lease_seconds: float) -> list[WorkerOut]:
    statement = (
        select(Worker, SILENT, Job.id, seen(Job, viewer), DeviceHold)
        .outerjoin(DeviceHold, (DeviceHold.worker_id == Worker.id) & in_force())
        .outerjoin(Job, (Job.worker_id == Worker.id) & Job.state.in_(list(HELD)))
        .where(wanted)
        # a job that an earlier process of this name left is held until its lease ends, as after a restore; the worker runs the later one
        .ext(distinct_on(Worker.job_class, Worker.id))
        .order_by(Worker.job_class, Worker.id, Job.started_at.desc(), Job.id)
    )
    nodes = []
    for row, silent, job_id, shown, hold in session.execute(statement):
        nodes.append(
            WorkerOut(
                id=row.id,
                job_class=row.job_class,
                device=row.device,
                host=row.host,
                version=row.version,
                models=row.models,
                memory=row.memory,
                busy_with=job_id if job_id is None or shown else "another",
                seen_seconds_ago=round(silent, 1),
                alive=silent < lease_seconds,
                hold=None if hold is None else _hold(hold),
                blocked=None if row.blocked is None else BlockedOut(**row.blocked),
            )
        )
    return nodes


def _hold(hold: DeviceHold) -> HoldOut:
    return HoldOut.model_validate(
        {"mode": hold.mode, "reason": hold.reason, "by": hold.held_by, "since": hold.held_at, "until": hold.until}
    )


def queues(session: Session) -> list[QueueOut]:
    """Returns the numbers of unfinished jobs by queue and model."""
    ready = (Job.state == State.QUEUED) & (Job.blockers == 0)
    oldest = func.min(Job.queued_at).filter(ready)
    statement = (
        select(
            Job.job_class,
            case((Job.short, SHORT), else_=Job.job_class).label("lane"),
            Job.model,
            func.count().filter(ready).label("queued"),
            func.count().filter((Job.state == State.QUEUED) & (Job.blockers > 0)).label("waiting"),
            func.count().filter(Job.state.in_(list(HELD))).label("running"),
            cast(func.extract("epoch", func.now() - oldest), Float).label("oldest_seconds"),
        )
        .where(Job.state.in_([State.QUEUED, *HELD]))
        .group_by(Job.job_class, Job.short, Job.model)
        .order_by(Job.job_class, Job.short.desc(), Job.model)
    )
    return [QueueOut(queue=QUEUES[row["lane"]], **row) for row in session.execute(statement).mappings()]


def waiting(session: Session, viewer: Viewer, *, slice_seconds: float) -> list[WaitingOut]:
    """Returns queued jobs that the viewer may see, the next ones first; of very many jobs, only the oldest are considered."""
    jobs = [Queued(*row) for row in session.connection().execute(_QUEUED[viewer.is_admin], parameters_of(viewer))]
    standing = standings(session, jobs, viewer, slice_seconds=slice_seconds)
    waiting_jobs = [
        WaitingOut(
            job=job.id, kind=job.kind, model=job.model, name=job.name, owner=job.owner, queue=queue_of(job), lane=lane_of(job),
            position=standing[job.id].position, waits_because=standing[job.id].reason,
        )
        for job in jobs
    ]  # fmt: skip
    return sorted(waiting_jobs, key=lambda job: (job.position is None, job.position or 0))[:SHOWN]


def finished_by_kind(session: Session) -> list[tuple[str, str, int]]:
    """Returns `(kind, state, count)` of all finished jobs, for the metrics."""
    return [(*key.split(" "), count) for key, count in tally(session, FINISHED).items()]  # type: ignore[misc]
