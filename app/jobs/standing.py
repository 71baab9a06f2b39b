"""Computes jobs' places in the queue and why they wait, for many jobs in a few statements."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy import ARRAY, JSON, DateTime, String, any_, bindparam, column, select, text

from app.auth.viewer import Viewer
from app.auth.visibility import parameters_of
from app.db import Rows
from app.jobs.models import Job, JobEdge
from app.jobs.positions import COUNTS, RANKS, TURNS, JobsAhead, Placed, ahead
from app.jobs.reasons import LOADING, Before, Fleet, Scene, WaitingJob, comes_after, reason
from app.jobs.repository import usable_by_parameters
from app.jobs.schemas import WaitReason
from app.jobs.states import FINISHED, HELD, State
from app.quotas.limits import limit_of
from terms.values import Json

SILENT_SECONDS = 90.0
"""A worker that has not reported for this many seconds counts as dead; live workers report every few seconds."""
LOADING_PHASE = "loading model"

_PARTS = f"""
WITH owners AS (
    SELECT o.owner, {limit_of("max_running", "o.owner")} AS may, (
        SELECT count(*) FROM jobs r WHERE r.owner = o.owner AND r.job_class = 'model' AND r.state IN ('running', 'cancelling')
    ) AS running FROM unnest(CAST(:owners AS text[])) AS o(owner)
), alive AS (
    SELECT w.job_class, h.worker_id IS NOT NULL AS held, w.blocked IS NOT NULL AS blocked,
        w.id IN (SELECT j.worker_id FROM jobs j WHERE j.state IN ('running', 'cancelling')) AS busy
    FROM workers w LEFT JOIN device_holds h ON h.worker_id = w.id AND (h.until IS NULL OR h.until > now())
    WHERE w.seen_at > now() - make_interval(secs => :silent)
), fleets AS (
    SELECT job_class, count(*) AS alive, count(*) FILTER (WHERE held) AS held, count(*) FILTER (WHERE NOT held AND blocked) AS blocked,
        count(*) FILTER (WHERE NOT held AND NOT blocked AND busy IS NOT TRUE) AS idle
    FROM alive GROUP BY job_class
)"""
_FACTS = """SELECT now() AS now, (SELECT json_agg(json_build_array(owner, running, may)) FROM owners) AS owners,
    (SELECT json_agg(json_build_array(job_class, alive, held, blocked, idle)) FROM fleets) AS fleets"""
_COLUMNS = column("now", DateTime), column("owners", JSON), column("fleets", JSON)
"""With its columns named here, SQLAlchemy need not work out for every result what they are."""
_SCENE = text(_PARTS + _FACTS).columns(*_COLUMNS)
_STANDINGS = text(f"{_PARTS}, {COUNTS} {_FACTS}, ({TURNS}) AS turns, ({RANKS}) AS ranks").columns(
    *_COLUMNS, column("turns", JSON), column("ranks", JSON)
)


_UNMET = {
    admin: select(JobEdge.job_id, Job.id, Job.kind, Job.model, Job.phase, Job.progress_done, Job.progress_total, Job.state)
    .join(Job, Job.id == JobEdge.after_id)
    .where(
        JobEdge.job_id == any_(bindparam("ids", type_=ARRAY(String))),
        Job.state.not_in(list(FINISHED)),
        usable_by_parameters(admin=admin),
    )
    .order_by(JobEdge.after_id)
    for admin in (False, True)
}
"""Built once, because every list with such jobs runs it."""


class Row(WaitingJob, Placed, Protocol):
    """The columns of a job that are needed here: a Job, or a row with at least these columns."""

    state: State
    phase: str
    blockers: int


class Standing(NamedTuple):
    """Where a job stands. `position` 1 is next, None is not in the queue; `after` are the unfinished jobs it waits for."""

    position: int | None = None
    reason: WaitReason | None = None
    after: Sequence[str] = ()


def standings(session: Rows, jobs: Sequence[Row], viewer: Viewer | None, *, slice_seconds: float) -> dict[str, Standing]:
    """Returns the standing of each job that is queued or is loading its model, as shown to a viewer; other jobs have no standing.

    Predecessors are named if the viewer may see them; counts of an owner's jobs are shown if the viewer manages them. Without a viewer,
    nothing is named or counted.
    """
    ready = [job for job in jobs if job.state == State.QUEUED and not job.blockers]
    places: dict[str, JobsAhead] = {}
    scenes: dict[str, Scene] = {}
    for job_class in sorted({job.job_class for job in ready}):
        queue, scenes[job_class] = _queue(session, job_class, [job for job in ready if job.job_class == job_class], slice_seconds)
        places |= queue
    blocked = [job.id for job in jobs if job.state == State.QUEUED and job.blockers]
    after = _unmet(session, blocked, viewer) if viewer is not None and blocked else {}
    by_job: dict[str, Standing] = {}
    for job in jobs:
        if job.state == State.RUNNING and job.phase == LOADING_PHASE:
            by_job[job.id] = Standing(reason=LOADING)
        elif job.state == State.QUEUED and job.blockers:
            before = after.get(job.id, [])
            by_job[job.id] = Standing(None, comes_after(before, job.blockers), [predecessor.id for predecessor in before])
        elif job.state == State.QUEUED:
            by_job[job.id] = _in_queue(job, places.get(job.id), scenes[job.job_class], viewer)
    return by_job


def standings_in_queue(session: Rows, places: Sequence[tuple[Row, JobsAhead]], viewer: Viewer) -> list[Standing]:
    """Returns the standings, as shown to a viewer, of ready jobs of which it is known how many jobs are ahead of each."""
    if not places:
        return []
    now, owners, fleets = session.execute(_SCENE, _asked(job for job, _ in places)).one()
    scene = _scene(now, owners, fleets)
    return [_in_queue(job, place, scene, viewer) for job, place in places]


def _in_queue(job: Row, place: JobsAhead | None, scene: Scene, viewer: Viewer | None) -> Standing:
    why = reason(job, place, scene, counted=viewer is not None and viewer.manages(job.owner))
    return Standing(None if place is None else place.position, why)


def _unmet(session: Rows, ids: Sequence[str], viewer: Viewer) -> dict[str, list[Before]]:
    """Returns, for each job, its unfinished predecessors that the viewer may see."""
    rows = session.execute(_UNMET[viewer.is_admin], {"ids": list(ids), **parameters_of(viewer)})
    by_job: dict[str, list[Before]] = {}
    for job_id, before, kind, model, phase, done, total, state in rows:
        by_job.setdefault(job_id, []).append(Before(before, kind, model, phase, done, total, state in HELD))
    return by_job


def _queue(session: Rows, job_class: str, ready: Sequence[Row], slice_seconds: float) -> tuple[dict[str, JobsAhead], Scene]:
    """Returns how many jobs of a class are ahead of each, and the other facts behind their reasons to wait."""
    places = {"job_class": job_class, "ids": [job.id for job in ready], "slice": slice_seconds}
    now, owners, fleets, turns, ranks = session.execute(_STANDINGS, _asked(ready) | places).one()
    return ahead(ready, turns or (), ranks or {}), _scene(now, owners, fleets)


def _asked(jobs: Iterable[Row]) -> dict[str, Json]:
    """Returns the parameters of `_PARTS` for the owners of these jobs."""
    return {"owners": sorted({job.owner for job in jobs}), "silent": SILENT_SECONDS}


def _scene(
    now: datetime, owners: Sequence[tuple[str, int, int]] | None, fleets: Sequence[tuple[str, int, int, int, int]] | None
) -> Scene:
    """Returns what `_FACTS` found."""
    running = {owner: (count, may) for owner, count, may in owners or ()}
    return Scene(now, {name: Fleet(*counts) for name, *counts in fleets or ()}, running)
