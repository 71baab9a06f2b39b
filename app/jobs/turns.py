"""Fair share: owners take turns in each lane. Finds the owner and job that come next, queue positions, and the account.

The lanes are `light`, `model` and `short`: generations go by the short one, which workers of the class `model` serve before their own. The
account of a lane is a row per owner: when they were last served there, pushed later by the device time they used lately.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.jobs.models import Job
from app.jobs.schemas import Queue
from app.quotas.models import EVERYBODY, UNLIMITED

SHORT = "short"
QUEUES: Mapping[str, Queue] = {SHORT: "generation", "model": "model", "light": "light"}
"""What people call each lane."""
LOOKAHEAD = 16
"""How far down an owner's queue a loaded model is looked for, and how often the oldest job may be overtaken for one."""
HALF_LIFE_SECONDS = 6 * 3600


def lane_of(job: Job) -> str:
    """The lane in which the job waits for its turn."""
    return SHORT if job.short else job.job_class


def queue_of(job: Job) -> Queue:
    """The same under the name that people are told."""
    return QUEUES[lane_of(job)]


def accounts_of(job: Job) -> list[str]:
    """The lanes that the job's time is charged to, in the order in which their rows are locked: generations count toward the owner's share."""
    return [SHORT, job.job_class] if job.short else [job.job_class]


def _ready(short: str) -> str:
    return f"""j.state = 'queued' AND j.blockers = 0 AND j.job_class = :job_class AND j.short = {short}
    AND (j.not_before IS NULL OR j.not_before <= now())
    AND j.handler_version <= CAST(CAST(:versions AS jsonb) ->> j.kind AS integer)"""


def _has_ready(owner: str, short: str) -> str:
    """SQL: whether the owner has a job ready in a lane. Not EXISTS: without statistics, the planner made that a walk over the whole queue for
    every owner (75 ms among 3,000 jobs); a subquery with LIMIT is one look into the index."""
    return f"(SELECT true FROM jobs j WHERE {_ready(short)} AND j.owner = {owner} LIMIT 1)"


def max_running(owner: str) -> str:
    """SQL: jobs that an owner may have on devices at once."""
    return f"""coalesce((SELECT q.max_running FROM quotas q WHERE q.owner = {owner}),
    (SELECT q.max_running FROM quotas q WHERE q.owner = '{EVERYBODY}'), {UNLIMITED})"""


def _may_run(owner: str) -> str:
    """SQL: whether the owner's quota allows another job on a device; `:but` is a job that does not count, as it would make room."""
    return f"""(:job_class <> 'model' OR {max_running(owner)} > (
    SELECT count(*) FROM jobs r
    WHERE r.owner = {owner} AND r.job_class = 'model' AND r.state IN ('running', 'cancelling') AND r.id <> :but))"""


# When an owner was last served, pushed later by the device time they used lately: at most one slice, so that nobody waits without bound.
# In floating point: `power` on numeric, which `extract` gives, costs 60 microseconds a row.
_SCORE = f"""CAST(extract(epoch FROM t.last_started) AS float8)
    + least(:slice, t.recent_seconds
        * power(CAST(0.5 AS float8), CAST(extract(epoch FROM now() - t.decayed_at) AS float8) / {HALF_LIFE_SECONDS}))"""

_TURN = f"""
SELECT t.owner FROM owner_turns t
WHERE t.lane = :lane AND t.owner <> ALL(:passed) AND {_has_ready("t.owner", ":short")} AND {_may_run("t.owner")}
ORDER BY {_SCORE}, t.owner LIMIT 1 FOR UPDATE OF t"""

_TAKE_TURN = text(_TURN + " SKIP LOCKED")
_WAIT_FOR_TURN = text(_TURN)
_LOCK_JOBS = text("SELECT id FROM jobs WHERE id = ANY(:ids) AND state = 'queued' ORDER BY id FOR NO KEY UPDATE SKIP LOCKED")
_LOCK_CLASS = text("SELECT 1 FROM owner_turns WHERE owner = :owner AND lane = :job_class FOR UPDATE")

# The first row is the job to run, `oldest` the one that would have gone without a thought for models.
_PICK = text(f"""
WITH first AS (
    SELECT j.id, j.priority, j.model, j.overtaken FROM jobs j
    WHERE {_ready(":short")} AND j.owner = :owner AND j.id <> ALL(:busy) AND {_may_run(":owner")}
    ORDER BY j.priority DESC, j.id LIMIT {LOOKAHEAD}
), head AS (SELECT * FROM first ORDER BY priority DESC, id LIMIT 1)
SELECT first.id, head.id AS oldest FROM first, head
ORDER BY first.priority DESC, (first.id = head.id AND head.overtaken >= {LOOKAHEAD}) DESC,
    (first.model = ANY(:models)) IS TRUE DESC, first.id
LIMIT 1""")

_WAITING = f"""
SELECT coalesce(bool_or(t.lane = '{SHORT}'), false) AS short,
    coalesce(bool_or(t.lane = :job_class AND t.owner <> :owner), false) AS others
FROM owner_turns t
WHERE t.lane IN ('{SHORT}', :job_class) AND {_has_ready("t.owner", f"(t.lane = '{SHORT}')")} AND {_may_run("t.owner")}"""

# Owners take turns: ahead of a job are its owner's own earlier jobs, and of every other owner as many, plus one of those who go first.
_PLACES = text(f"""
WITH waiting AS (
    SELECT owner, short, count(*) AS jobs FROM jobs
    WHERE state = 'queued' AND blockers = 0 AND job_class = :job_class GROUP BY owner, short
), turns AS (
    SELECT w.owner, w.short, w.jobs, row_number() OVER (PARTITION BY w.short ORDER BY {_SCORE}, w.owner) AS turn
    FROM waiting w JOIN owner_turns t ON t.owner = w.owner AND t.lane = CASE WHEN w.short THEN '{SHORT}' ELSE :job_class END
), queues AS (
    SELECT id, owner, short, row_number() OVER (PARTITION BY owner, short ORDER BY priority DESC, id) - 1 AS own
    FROM jobs WHERE state = 'queued' AND blockers = 0 AND job_class = :job_class
        AND owner IN (SELECT owner FROM jobs WHERE id = ANY(:ids))
)
SELECT q.id, q.own, CAST((
    SELECT coalesce(sum(least(o.jobs, q.own + (o.turn < mine.turn)::int)), 0) FROM turns o WHERE o.owner <> q.owner AND o.short = q.short
) AS bigint) AS others, CAST(CASE WHEN q.short THEN 0 ELSE (SELECT coalesce(sum(jobs), 0) FROM turns WHERE short) END AS bigint) AS generations
FROM queues q JOIN turns mine ON mine.owner = q.owner AND mine.short = q.short WHERE q.id = ANY(:ids)""")

_CHARGE = text(f"""
UPDATE owner_turns SET decayed_at = now(),
    recent_seconds = :seconds + recent_seconds * power(0.5, extract(epoch FROM now() - decayed_at) / {HALF_LIFE_SECONDS})
WHERE owner = :owner AND lane = :lane""")
_BOOK = text("""
INSERT INTO usage_days (owner, day, job_class, device_seconds, attempts)
VALUES (:owner, CAST(now() AT TIME ZONE 'UTC' AS date), :job_class, :seconds, 1)
ON CONFLICT (owner, day, job_class) DO UPDATE SET
    device_seconds = usage_days.device_seconds + excluded.device_seconds, attempts = usage_days.attempts + 1""")


@dataclass(frozen=True)
class Place:
    """What goes before a job: its owner's own jobs, others' by their turns, generations."""

    own: int
    others: int
    generations: int

    @property
    def position(self) -> int:
        """1 is next."""
        return 1 + self.own + self.others + self.generations


@dataclass(frozen=True)
class Waiting:
    """Who waits for a device that a job holds: a generation, another owner."""

    short: bool
    others: bool


def next_job(
    session: Session, job_class: str, *, short: bool, versions: Mapping[str, int], models: list[str], slice_seconds: float
) -> str | None:
    """The job of a lane that is to run now, its owner's turn locked and taken; None when the lane has none that may.

    The turn is locked before a job is chosen: claimers that only locked job rows would pick different jobs of the same owner and undo the
    fairness (SKIP LOCKED on jobs alone gave 7 distinct owners per 20 claims where turn rows gave 18).
    """
    lane = SHORT if short else job_class
    ready = {
        "job_class": job_class,
        "short": short,
        "lane": lane,
        "versions": json.dumps(versions),
        "slice": slice_seconds,
        "but": "",
    }
    # Another claimer may hold the only turn there is: then wait for it, a claim takes milliseconds.
    held = session.begin_nested()
    passed: list[str] = []
    owner = session.scalar(_TAKE_TURN, {**ready, "passed": passed}) or session.scalar(_WAIT_FOR_TURN, {**ready, "passed": passed})
    while owner is not None:
        picked = _pick(session, {**ready, "owner": owner, "models": models})
        if picked is not None:
            held.commit()
            return picked
        # The turn we waited for took the owner's last job. It is let go before another is taken: who holds one turn must not wait for another.
        held.rollback()
        held = session.begin_nested()
        passed.append(owner)
        owner = session.scalar(_TAKE_TURN, {**ready, "passed": passed})
    held.rollback()
    return None


def _pick(session: Session, ready: dict[str, Any]) -> str | None:
    if ready["short"]:  # generations and other jobs of an owner are counted together: one claimer at a time
        session.execute(_LOCK_CLASS, ready)
    busy: list[str] = []
    while len(busy) <= LOOKAHEAD:
        found = session.execute(_PICK, {**ready, "busy": busy}).one_or_none()
        if found is None:
            return None
        # Never waits for a job: a transaction that holds it may itself wait for this turn.
        locked = session.scalars(_LOCK_JOBS, {"ids": [found.id, found.oldest]}).all()
        if found.id in locked:
            return _taken(session, ready, str(found.id), found.oldest if found.oldest in locked else None)
        busy.append(found.id)
    return None


def _taken(session: Session, ready: dict[str, Any], job_id: str, oldest: str | None) -> str:
    """Notes that the owner was served, and that the oldest job was overtaken if another was picked."""
    session.execute(
        text("UPDATE owner_turns SET last_started = clock_timestamp() WHERE owner = :owner AND lane = :lane"),
        {"owner": ready["owner"], "lane": ready["lane"]},
    )
    if oldest not in (None, job_id):
        session.execute(text("UPDATE jobs SET overtaken = overtaken + 1 WHERE id = :id"), {"id": oldest})
    return job_id


def charge(session: Session, job: Job, seconds: float) -> None:
    """Adds the time of an attempt to its owner's accounts and to the day's book."""
    for lane in accounts_of(job):
        session.execute(_CHARGE, {"owner": job.owner, "lane": lane, "seconds": seconds})
    session.execute(_BOOK, {"owner": job.owner, "job_class": job.job_class, "seconds": seconds})


def waiting(session: Session, job: Job, versions: Mapping[str, int]) -> Waiting:
    """Who could run at once on the device of a running job, were it to yield. Whom a quota holds back does not wait for a device."""
    facts = {"job_class": job.job_class, "owner": job.owner, "but": job.id, "versions": json.dumps(versions)}
    row = session.execute(text(_WAITING), facts).one()
    return Waiting(row.short, row.others)


def places(session: Session, job_class: str, ids: list[str], *, slice_seconds: float) -> dict[str, Place]:
    """Places in the queue of a class: owners take turns, each by priority and age (loaded models may still reorder a few)."""
    rows = session.execute(_PLACES, {"job_class": job_class, "ids": ids, "slice": slice_seconds})
    return {row.id: Place(row.own, row.others, row.generations) for row in rows}
