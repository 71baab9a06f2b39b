"""Database statements for the status board."""

import math
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import starmap

from sqlalchemy import ARRAY, Integer, String, all_, bindparam, column, or_, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.auth.visibility import parameters_of, seen_by_parameters
from app.db import Rows
from app.devices.models import DeviceHold, Worker
from app.devices.repository import GONE_SECONDS, SILENT, in_force
from app.devices.schemas import BlockedOut, HoldOut
from app.errors import not_found
from app.jobs.models import CLAIMABLE, HELD_JOBS, UNFINISHED_JOBS, Job
from app.jobs.positions import NEXT, JobsAhead
from app.jobs.standing import standings, standings_in_queue
from app.jobs.states import State
from app.jobs.turns import QUEUES, SHORT, lane_of, queue_of
from app.status.schemas import QueueOut, WaitingOut, WorkerOut
from app.tallies import FINISHED, tally

SHOWN = 20
"""Most waiting jobs that the board shows."""


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


_COLUMNS = [Job.__table__.c[field.name] for field in fields(Queued)]
_PLACED = (
    text(NEXT)
    .bindparams(most=SHOWN)
    .columns(column("id", String), *(column(name, Integer) for name in ("own", "others", "generations", "ahead")))
    .subquery("placed")
)
_NEXT = {
    admin: select(_PLACED.c.own, _PLACED.c.others, _PLACED.c.generations, *_COLUMNS)
    .join(_PLACED, _PLACED.c.id == Job.id)
    .where(seen_by_parameters(Job, admin=admin))
    .order_by(_PLACED.c.ahead, _PLACED.c.id)  # as they come: jobs are looked up until there are enough that the viewer may see
    .limit(SHOWN)
    for admin in (False, True)
}
"""Built once, because every open status page runs it every few seconds."""
_OTHERS = {
    # these conditions are written out, so that a prepared plan may use the partial indexes
    (admin, ready): select(*_COLUMNS)
    .where(text(CLAIMABLE if ready else "state = 'queued' AND blockers > 0"), seen_by_parameters(Job, admin=admin))
    .where(Job.id != all_(bindparam("but", type_=ARRAY(String))))
    .order_by(Job.id)
    .limit(bindparam("most", type_=Integer))
    for admin in (False, True)
    for ready in (True, False)
}


_NODES = {
    (admin, named): select(
        *(Worker.__table__.c[name] for name in ("id", "job_class", "device", "host", "version", "models", "memory", "blocked")),
        SILENT.label("silent"),
        Job.id.label("job"),
        seen_by_parameters(Job, admin=admin).label("shown"),
        *(DeviceHold.__table__.c[name] for name in ("mode", "reason", "held_by", "held_at", "until")),
    )
    .outerjoin(DeviceHold, (DeviceHold.worker_id == Worker.id) & in_force())
    .outerjoin(Job, (Job.worker_id == Worker.id) & text(HELD_JOBS))
    .where(Worker.id == bindparam("name") if named else or_(SILENT < GONE_SECONDS, Job.id.is_not(None)))
    # a job that an earlier process of this name left is held until its lease ends, as after a restore; the worker runs the later one
    .ext(distinct_on(Worker.job_class, Worker.id))
    .order_by(Worker.job_class, Worker.id, Job.started_at.desc(), Job.id)
    for admin in (False, True)
    for named in (False, True)
}
"""Built once, as is `_NEXT`."""


def workers(database: Rows, viewer: Viewer, *, lease_seconds: float) -> list[WorkerOut]:
    """Returns every worker node seen within `GONE_SECONDS`, or that still has a job, with what it does now."""
    return _workers(database, viewer, None, lease_seconds)


def worker(database: Rows, viewer: Viewer, name: str, *, lease_seconds: float) -> WorkerOut:
    """Returns the worker node of this name, even if it left the board, because a hold outlives it. Raises Problem 404."""
    nodes = _workers(database, viewer, name, lease_seconds)
    if not nodes:
        raise not_found("device", name)
    return nodes[0]


def _workers(database: Rows, viewer: Viewer, name: str | None, lease_seconds: float) -> list[WorkerOut]:
    statement = _NODES[viewer.is_admin, name is not None]
    rows = database.execute(statement, parameters_of(viewer) | ({} if name is None else {"name": name}))
    return [
        WorkerOut(
            id=row.id,
            job_class=row.job_class,
            device=row.device,
            host=row.host,
            version=row.version,
            models=row.models,
            memory=row.memory,
            busy_with=row.job if row.job is None or row.shown else "another",
            seen_seconds_ago=round(row.silent, 1),
            alive=row.silent < lease_seconds,
            hold=None
            if row.mode is None
            else HoldOut(mode=row.mode, reason=row.reason, by=row.held_by, since=row.held_at, until=row.until),
            blocked=None if row.blocked is None else BlockedOut(**row.blocked),
        )
        for row in rows
    ]


_QUEUES = text(f"""
SELECT job_class, CASE WHEN short THEN '{SHORT}' ELSE job_class END AS lane, model,
    coalesce(sum(jobs) FILTER (WHERE {CLAIMABLE}), 0) AS queued,
    coalesce(sum(jobs) FILTER (WHERE state = 'queued' AND blockers > 0), 0) AS waiting,
    coalesce(sum(jobs) FILTER (WHERE state <> 'queued'), 0) AS running,
    CAST(extract(epoch FROM now() - min(oldest) FILTER (WHERE {CLAIMABLE})) AS float8) AS oldest_seconds
FROM (
    SELECT job_class, short, model, state, blockers, count(*) AS jobs, min(queued_at) AS oldest FROM jobs
    WHERE {UNFINISHED_JOBS} GROUP BY job_class, short, model, state, blockers
) AS grouped
GROUP BY job_class, short, model ORDER BY job_class, short DESC, model""")
"""The inner groups are those of an index, which holds all that is read: thousands of jobs are counted without sorting or hashing them."""


def queues(database: Rows) -> list[QueueOut]:
    """Returns the numbers of unfinished jobs by queue and model."""
    return [QueueOut(queue=QUEUES[row["lane"]], **row) for row in database.execute(_QUEUES).mappings()]


def waiting(database: Rows, viewer: Viewer, *, slice_seconds: float) -> list[WaitingOut]:
    """Returns `SHOWN` queued jobs that the viewer may see, the next ones first.

    If the viewer sees fewer among the first `SHOWN` of each owner in each lane, others follow: ready jobs before those that wait for jobs.
    """
    seen = parameters_of(viewer)
    rows = database.execute(_NEXT[viewer.is_admin], seen | {"slice": slice_seconds}).all()
    places = [(Queued(*job), JobsAhead(own, others, generations)) for own, others, generations, *job in rows]
    shown = [(job, place) for (job, _), place in zip(places, standings_in_queue(database, places, viewer), strict=True)]
    for ready in (True, False):
        if len(shown) < SHOWN:
            but = {"but": [job.id for job, _ in places], "most": SHOWN - len(shown)}
            others = list(starmap(Queued, database.execute(_OTHERS[viewer.is_admin, ready], seen | but)))
            standing = standings(database, others, viewer, slice_seconds=slice_seconds)
            shown += [(job, standing[job.id]) for job in others]
    shown.sort(key=lambda pair: math.inf if pair[1].position is None else pair[1].position)
    return [
        WaitingOut(
            job=job.id, kind=job.kind, model=job.model, name=job.name, owner=job.owner, queue=queue_of(job), lane=lane_of(job),
            position=place.position, waits_because=place.reason,
        )
        for job, place in shown
    ]  # fmt: skip


def finished_by_kind(session: Session) -> list[tuple[str, str, int]]:
    """Returns `(kind, state, count)` of all finished jobs, for the metrics."""
    return [(*key.split(" "), count) for key, count in tally(session, FINISHED).items()]  # type: ignore[misc]
