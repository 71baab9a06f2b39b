"""Computes jobs' places in the queue and why they wait, for many jobs in a few statements."""

import math
from collections.abc import Sequence
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

SILENT_SECONDS = 90.0
"""A worker that has not reported for this many seconds counts as dead; live workers report every few seconds."""
LOADING_PHASE = "loading model"

_STANDINGS = text(f"""
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
), {COUNTS}
SELECT now() AS now, (SELECT json_agg(json_build_array(owner, running, may)) FROM owners) AS owners,
    (SELECT json_agg(json_build_array(job_class, alive, held, blocked, idle)) FROM fleets) AS fleets,
    ({TURNS}) AS turns, ({RANKS}) AS ranks""").columns(
    column("now", DateTime), column("owners", JSON), column("fleets", JSON), column("turns", JSON), column("ranks", JSON)
)
"""With its columns named here, SQLAlchemy need not work out for every result what they are."""


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


def standings(
    session: Rows, jobs: Sequence[Row], viewer: Viewer | None, *, slice_seconds: float, first: int | None = None
) -> dict[str, Standing]:
    """Returns the standing of each job that is queued or is loading its model, as shown to a viewer; other jobs have no standing.

    Predecessors are named if the viewer may see them; counts of an owner's jobs are shown if the viewer manages them. Without a viewer,
    nothing is named or counted. `first`: only of so many jobs, those with the earliest positions, in this order.
    """
    ready = [job for job in jobs if job.state == State.QUEUED and not job.blockers]
    places: dict[str, JobsAhead] = {}
    scenes: dict[str, Scene] = {}
    for job_class in sorted({job.job_class for job in ready}):
        some = [job for job in ready if job.job_class == job_class]
        queue, scenes[job_class] = _queue(session, job_class, some, slice_seconds, first)
        places |= queue
    if first is not None:
        positions = {job_id: place.position for job_id, place in places.items()}
        jobs = sorted(jobs, key=lambda job: positions.get(job.id, math.inf))[:first]
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
            place = places.get(job.id)
            why = reason(job, place, scenes[job.job_class], counted=viewer is not None and viewer.manages(job.owner))
            by_job[job.id] = Standing(None if place is None else place.position, why)
    return by_job


def _unmet(session: Rows, ids: Sequence[str], viewer: Viewer) -> dict[str, list[Before]]:
    """Returns, for each job, its unfinished predecessors that the viewer may see."""
    rows = session.execute(_UNMET[viewer.is_admin], {"ids": list(ids), **parameters_of(viewer)})
    by_job: dict[str, list[Before]] = {}
    for job_id, before, kind, model, phase, done, total, state in rows:
        by_job.setdefault(job_id, []).append(Before(before, kind, model, phase, done, total, state in HELD))
    return by_job


def _queue(
    session: Rows, job_class: str, ready: Sequence[Row], slice_seconds: float, first: int | None
) -> tuple[dict[str, JobsAhead], Scene]:
    """Returns how many jobs of a class are ahead of each, or of the `first` of them, and the other facts behind their reasons to wait."""
    facts = {
        "job_class": job_class,
        "ids": [job.id for job in ready],
        "owners": sorted({job.owner for job in ready}),
        "first": first,
    }
    row = session.execute(_STANDINGS, {**facts, "slice": slice_seconds, "silent": SILENT_SECONDS}).one()
    fleets = {name: Fleet(*counts) for name, *counts in row.fleets or ()}
    running = {owner: (count, may) for owner, count, may in row.owners or ()} if job_class == "model" else {}
    return ahead(ready, row.turns or (), row.ranks or {}), Scene(row.now, fleets, running)
