"""Who gets the next job: the owner served least recently, then priority, a loaded model, age. And the lease that comes with it.

The owner's turn row is locked before a job is chosen: claimers that only locked job rows would pick different jobs of the same owner and
undo the fairness (SKIP LOCKED on jobs alone gave 7 distinct owners per 20 claims where turn rows gave 18).
"""

import json
from dataclasses import dataclass, field

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.jobs.models import Job, JobEdge
from app.jobs.states import State
from app.jobs.transitions import Superseded, touch, transition

LOOKAHEAD = 16
HALF_LIFE_SECONDS = 6 * 3600

_READY = """j.state = 'queued' AND j.blockers = 0 AND j.job_class = :job_class
    AND (j.not_before IS NULL OR j.not_before <= now())
    AND j.handler_version <= CAST(CAST(:versions AS jsonb) ->> j.kind AS integer)"""

# When an owner was last served, pushed later by the device time they used lately: at most one slice, so that nobody waits without bound.
# In floating point: `power` on numeric, which `extract` gives, costs 60 microseconds a row.
_SCORE = f"""CAST(extract(epoch FROM t.last_started) AS float8)
    + least(:slice, t.recent_seconds
        * power(CAST(0.5 AS float8), CAST(extract(epoch FROM now() - t.decayed_at) AS float8) / {HALF_LIFE_SECONDS}))"""

_TURN = f"""
SELECT t.owner FROM owner_turns t
WHERE t.job_class = :job_class AND EXISTS (SELECT 1 FROM jobs j WHERE {_READY} AND j.owner = t.owner)
ORDER BY {_SCORE}, t.owner LIMIT 1 FOR UPDATE OF t"""

TAKE_TURN = text(_TURN + " SKIP LOCKED")
WAIT_FOR_TURN = text(_TURN)

PICK = text(f"""
SELECT id FROM (
    SELECT j.id, j.priority, j.model FROM jobs j WHERE {_READY} AND j.owner = :owner
    ORDER BY j.priority DESC, j.id LIMIT {LOOKAHEAD}
) AS first
ORDER BY priority DESC, (model = ANY(:models)) IS TRUE DESC, id""")

# Owners take turns: ahead of a job are its owner's own earlier jobs, and of every other owner as many, plus one of those who go first.
POSITIONS = text(f"""
WITH waiting AS (
    SELECT owner, count(*) AS jobs FROM jobs WHERE state = 'queued' AND blockers = 0 AND job_class = :job_class GROUP BY owner
), turns AS (
    SELECT w.owner, w.jobs, row_number() OVER (ORDER BY {_SCORE}, w.owner) AS turn
    FROM waiting w JOIN owner_turns t ON t.owner = w.owner AND t.job_class = :job_class
), queues AS (
    SELECT id, owner, row_number() OVER (PARTITION BY owner ORDER BY priority DESC, id) - 1 AS ahead
    FROM jobs WHERE state = 'queued' AND blockers = 0 AND job_class = :job_class
        AND owner IN (SELECT owner FROM jobs WHERE id = ANY(:ids))
)
SELECT q.id, 1 + q.ahead + (
    SELECT coalesce(sum(least(o.jobs, q.ahead + (o.turn < mine.turn)::int)), 0) FROM turns o WHERE o.owner <> q.owner
)::bigint AS position
FROM queues q JOIN turns mine ON mine.owner = q.owner WHERE q.id = ANY(:ids)""")

CHARGE = text(f"""
UPDATE owner_turns SET decayed_at = now(),
    recent_seconds = :seconds + recent_seconds * power(0.5, extract(epoch FROM now() - decayed_at) / {HALF_LIFE_SECONDS})
WHERE owner = :owner AND job_class = :job_class""")


@dataclass(frozen=True)
class Claimer:
    """The worker that asks for a job."""

    worker_id: str
    job_class: str
    child_pid: int
    versions: dict[str, int]
    models: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lease:
    """The right to run a job, as long as it is renewed. `token` fences: no write of an older token touches the row."""

    job: Job
    token: int


def claim(session: Session, claimer: Claimer, *, ttl: float, slice_seconds: float) -> Lease | None:
    """The next job for this worker, now leased to it for `ttl` seconds, or None when nothing is ready. One short transaction."""
    ready = {"job_class": claimer.job_class, "versions": json.dumps(claimer.versions), "slice": slice_seconds}
    # Another claimer may hold the only turn there is: then wait for it, a claim takes milliseconds.
    owner = session.scalar(TAKE_TURN, ready) or session.scalar(WAIT_FOR_TURN, ready)
    if owner is None:
        return None
    picked = session.scalars(PICK, {**ready, "owner": owner, "models": claimer.models}).first()
    if picked is None:  # the turn we waited for took the owner's last job
        return None
    session.execute(
        text("UPDATE owner_turns SET last_started = clock_timestamp() WHERE owner = :owner AND job_class = :job_class"),
        {"owner": owner, "job_class": claimer.job_class},
    )
    try:
        job = transition(
            session, picked, [State.QUEUED], State.RUNNING, event="started", data={"worker": claimer.worker_id},
            attempt=Job.attempt + 1, lease_token=Job.lease_token + 1, lease_expires_at=text(f"now() + interval '{ttl} seconds'"),
            worker_id=claimer.worker_id, child_pid=claimer.child_pid, started_at=text("now()"), progress_at=text("now()"),
            phase="starting", progress_done=0, progress_total=0, progress_unit="", eta_at=None, not_before=None,
        )  # fmt: skip
    except Superseded:  # cancelled in this very moment
        return None
    return Lease(job, job.lease_token)


def renew(session: Session, job_id: str, token: int, ttl: float) -> Job:
    """Another `ttl` seconds. The returned row says whether cancelling was asked for. Raises Superseded when the lease is lost."""
    job = session.scalars(
        update(Job)
        .where(Job.id == job_id, Job.lease_token == token, Job.state.in_([State.RUNNING, State.CANCELLING]))
        .values(lease_expires_at=text(f"now() + interval '{ttl} seconds'"))
        .returning(Job)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one_or_none()
    if job is None:
        raise Superseded(f"{job_id} is not held under lease {token}")
    return job


def report(session: Session, job_id: str, token: int, *, phase_event: bool, **values: object) -> Job:
    """Writes phase and progress of a held job; a new phase is an event. Raises Superseded when the lease is lost."""
    data = {"phase": values.get("phase"), "total": values.get("progress_total"), "unit": values.get("progress_unit")}
    return touch(
        session, job_id, token=token, event="phase" if phase_event else None, data=data, progress_at=text("now()"), **values
    )


def charge(session: Session, job: Job, seconds: float) -> None:
    """Adds device time to the owner's account in the job's class."""
    session.execute(CHARGE, {"owner": job.owner, "job_class": job.job_class, "seconds": seconds})


def somebody_else_waits(session: Session, job: Job) -> bool:
    """Whether another owner has a job ready in this class."""
    found = session.scalar(
        select(Job.id)
        .where(Job.state == State.QUEUED, Job.blockers == 0, Job.job_class == job.job_class, Job.owner != job.owner)
        .where((Job.not_before.is_(None)) | (Job.not_before <= text("now()")))
        .limit(1)
    )
    return found is not None


def positions(session: Session, job_class: str, ids: list[str], *, slice_seconds: float) -> dict[str, int]:
    """Places in the queue of a class, 1 is next: owners take turns, each by priority and age (loaded models may still reorder a few)."""
    rows = session.execute(POSITIONS, {"job_class": job_class, "ids": ids, "slice": slice_seconds})
    return {row.id: row.position for row in rows}


def waiting_for(session: Session, ids: list[str]) -> dict[str, list[str]]:
    """For each of these jobs, the jobs it comes after that are not over."""
    rows = session.execute(
        select(JobEdge.job_id, JobEdge.after_id)
        .join(Job, Job.id == JobEdge.after_id)
        .where(JobEdge.job_id.in_(ids), Job.state.in_([State.QUEUED, State.RUNNING, State.CANCELLING]))
        .order_by(JobEdge.after_id)
    )
    found: dict[str, list[str]] = {}
    for job_id, after_id in rows:
        found.setdefault(job_id, []).append(after_id)
    return found
