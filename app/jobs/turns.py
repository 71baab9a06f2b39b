"""Fair share: owners take turns in each lane. Finds the next owner and job, and charges device time.

The lanes are `light`, `model` and `short`. Generations use the lane `short`, which workers of the class `model` serve first. Each lane keeps
a row per owner: the time of their last start, moved later by their recent device time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Row, TextClause, text
from sqlalchemy.orm import Session

from app.jobs.models import CLAIMABLE, Job
from app.jobs.schemas import Queue
from app.quotas.limits import limit_of
from terms.values import Json

SHORT = "short"
QUEUES: Mapping[str, Queue] = {SHORT: "generation", "model": "model", "light": "light"}
"""Name of each lane in the API."""
LOOKAHEAD = 16
"""How many of an owner's jobs are searched for one that uses a loaded model, and how often the oldest job may be overtaken."""
HALF_LIFE_SECONDS = 6 * 3600


class Laned(Protocol):
    """A job, as far as its lane depends on it."""

    job_class: str
    short: bool


def lane_of(job: Laned) -> str:
    """Returns the lane in which the job waits for its turn."""
    return SHORT if job.short else job.job_class


def queue_of(job: Laned) -> Queue:
    """Returns the name of the job's queue in the API."""
    return QUEUES[lane_of(job)]


def accounts_of(job: Job) -> list[str]:
    """Returns the lanes charged for the job's device time, in the order in which their rows are locked.

    Generations count toward the owner's share of both lanes.
    """
    return [SHORT, job.job_class] if job.short else [job.job_class]


def _ready(short: str) -> str:
    return f"""{CLAIMABLE} AND j.job_class = :job_class AND j.short = {short}
    AND (j.not_before IS NULL OR j.not_before <= now())
    AND j.handler_version <= CAST(CAST(:versions AS jsonb) ->> j.kind AS integer)"""


def _has_ready(owner: str, short: str) -> str:
    """Returns SQL that tells whether the owner has a job ready in a lane.

    Not EXISTS: without table statistics, the query planner turned it into a scan of the whole queue for every owner (75 ms among 3,000 jobs).
    A subquery with LIMIT is one index lookup.
    """
    return f"(SELECT true FROM jobs j WHERE {_ready(short)} AND j.owner = {owner} LIMIT 1)"


def _may_run(owner: str) -> str:
    """Returns SQL that tells whether the owner's quota allows another job on a device; the job `:but` is not counted."""
    return f"""(:job_class <> 'model' OR {limit_of("max_running", owner)} > (
    SELECT count(*) FROM jobs r
    WHERE r.owner = {owner} AND r.job_class = 'model' AND r.state IN ('running', 'cancelling') AND r.id <> :but))"""


# In floating point: `power` on numeric, the type that `extract` returns, takes 60 microseconds a row.
SCORE = f"""CAST(extract(epoch FROM t.last_started) AS float8)
    + least(:slice, t.recent_seconds
        * power(CAST(0.5 AS float8), CAST(extract(epoch FROM now() - t.decayed_at) AS float8) / {HALF_LIFE_SECONDS}))"""
"""SQL: the time of an owner's last start, moved later by their recent device time, by at most one slice so that every wait is bounded. The
owner with the lowest score is next."""

# The turn of the first lane that has a ready job. The row of the class is locked in addition to that of the lane of short jobs: an
# owner's generations and other jobs are counted together, by one claimer at a time.
_TURN = f"""
WITH ready AS MATERIALIZED (
    SELECT t.owner, t.lane, array_position(CAST(:lanes AS text[]), CAST(t.lane AS text)) AS place, {SCORE} AS score FROM owner_turns t
    WHERE t.lane = ANY(:lanes) AND t.lane || ' ' || t.owner <> ALL(:passed) AND {_has_ready("t.owner", f"(t.lane = '{SHORT}')")}
        AND {_may_run("t.owner")}
)
SELECT t.owner, t.lane FROM ready r JOIN owner_turns t USING (owner, lane)
    JOIN owner_turns c ON c.owner = t.owner AND c.lane = :job_class
WHERE r.place = (SELECT min(place) FROM ready)
ORDER BY r.score, t.owner LIMIT 1 FOR UPDATE OF t, c"""

_TAKE_TURN = text(_TURN + " SKIP LOCKED")
_WAIT_FOR_TURN = text(_TURN)

# `picked.id` is the job to run, `oldest` the job that would run if loaded models did not matter. SKIP LOCKED, because a transaction that
# holds a job may itself wait for this turn. If the job was locked, the owner counts as served; if it is not the oldest, the oldest counts as
# overtaken.
_PICK = text(f"""
WITH first AS (
    SELECT j.id, j.priority, j.model, j.overtaken FROM jobs j
    WHERE {_ready(":short")} AND j.owner = :owner AND j.id <> ALL(:busy) AND {_may_run(":owner")}
    ORDER BY j.priority DESC, j.id LIMIT {LOOKAHEAD}
), head AS (SELECT * FROM first ORDER BY priority DESC, id LIMIT 1), picked AS MATERIALIZED (
    SELECT first.id, head.id AS oldest FROM first, head
    ORDER BY first.priority DESC, (first.id = head.id AND head.overtaken >= {LOOKAHEAD}) DESC,
        (first.model = ANY(:models)) IS TRUE DESC, first.id
    LIMIT 1
), locked AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY(SELECT unnest(ARRAY[id, oldest]) FROM picked) AND state = 'queued'
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), taken AS MATERIALIZED (SELECT p.* FROM picked p JOIN locked l ON l.id = p.id), served AS (
    UPDATE owner_turns SET last_started = clock_timestamp() WHERE owner = :owner AND lane = :lane AND EXISTS (SELECT FROM taken)
), overtaken AS (
    UPDATE jobs SET overtaken = overtaken + 1
    WHERE id = (SELECT oldest FROM taken WHERE oldest <> id) AND id IN (SELECT id FROM locked)
)
SELECT picked.id, taken.id IS NOT NULL AS taken FROM picked LEFT JOIN taken ON taken.id = picked.id""")

_WAITING = f"""
SELECT coalesce(bool_or(t.lane = '{SHORT}'), false) AS short,
    coalesce(bool_or(t.lane = :job_class AND t.owner <> :owner), false) AS others
FROM owner_turns t
WHERE t.lane IN ('{SHORT}', :job_class) AND {_has_ready("t.owner", f"(t.lane = '{SHORT}')")} AND {_may_run("t.owner")}"""

# Lock order: the owner's lanes as listed in `accounts_of`, then the day's usage.
_CHARGE = text(f"""
WITH locked AS MATERIALIZED (
    SELECT owner, lane FROM owner_turns WHERE owner = :owner AND lane = ANY(:lanes)
    ORDER BY array_position(CAST(:lanes AS text[]), CAST(lane AS text)) FOR UPDATE
), charged AS (
    UPDATE owner_turns t SET decayed_at = now(),
        recent_seconds = :seconds + recent_seconds * power(0.5, extract(epoch FROM now() - decayed_at) / {HALF_LIFE_SECONDS})
    FROM locked l WHERE t.owner = l.owner AND t.lane = l.lane RETURNING 1
)
INSERT INTO usage_days (owner, day, job_class, device_seconds, attempts)
SELECT :owner, CAST(now() AT TIME ZONE 'UTC' AS date), :job_class, :seconds, 1 FROM (SELECT count(*) FROM charged) AS done
ON CONFLICT (owner, day, job_class) DO UPDATE SET
    device_seconds = usage_days.device_seconds + excluded.device_seconds, attempts = usage_days.attempts + 1""")


class Locked(Exception):
    """Jobs are ready, but other transactions hold locks on all of them at the moment. Try again."""


@dataclass(frozen=True)
class Waiting:
    """Who waits for the device of a running job: `short`, a generation; `others`, another owner."""

    short: bool
    others: bool


def next_job(
    session: Session,
    job_class: str,
    *,
    lanes: Sequence[str],
    versions: Mapping[str, int],
    models: list[str],
    slice_seconds: float,
) -> str | None:
    """Returns the job to run next, from the first lane with a ready job, and takes its owner's turn; None when no job is ready.

    Raises Locked. The turn is locked before a job is chosen: claimers that locked only job rows would pick different jobs of the same owner
    and break the fair share (SKIP LOCKED on jobs alone gave 7 distinct owners per 20 claims, locked turns gave 18).
    """
    ready: dict[str, Json] = {
        "job_class": job_class,
        "lanes": list(lanes),
        "versions": json.dumps(versions),
        "slice": slice_seconds,
        "but": "",
    }
    # If another claimer holds the only turn, wait for it: a claim takes milliseconds. Claimers that hold a turn never wait for another turn.
    passed: list[str] = []
    locked = False
    turn = _turn(session, _TAKE_TURN, ready, passed) or _turn(session, _WAIT_FOR_TURN, ready, passed)
    while turn is not None:
        try:
            picked = _pick(
                session, {**ready, "owner": turn.owner, "lane": turn.lane, "short": turn.lane == SHORT, "models": models}
            )
        except Locked:
            locked = True
        else:
            if picked is not None:
                return picked
        passed.append(f"{turn.lane} {turn.owner}")  # this owner has no job left: another claimer took the last one
        turn = _turn(session, _TAKE_TURN, ready, passed)
    if locked:
        raise Locked
    return None


def _turn(session: Session, statement: TextClause, ready: Mapping[str, Json], passed: Sequence[str]) -> Row[str, str] | None:
    return session.execute(statement, {**ready, "passed": list(passed)}).one_or_none()


def _pick(session: Session, ready: Mapping[str, Json]) -> str | None:
    """Picks and locks a job of the owner and marks the owner as served; returns None when no job may run. Raises Locked."""
    busy: list[str] = []
    while len(busy) <= LOOKAHEAD:
        picked = session.execute(_PICK, {**ready, "busy": busy}).one_or_none()
        if picked is None:
            break
        if picked.taken:
            return str(picked.id)
        busy.append(picked.id)
    if busy:
        raise Locked
    return None


def charge(session: Session, job: Job, seconds: float) -> None:
    """Adds an attempt's device seconds to its owner's lanes and to the usage of the day."""
    session.execute(
        _CHARGE, {"owner": job.owner, "lanes": accounts_of(job), "job_class": job.job_class, "seconds": float(seconds)}
    )


def waiting(session: Session, job: Job, versions: Mapping[str, int]) -> Waiting:
    """Returns who could start on the device of a running job if that job yielded. Owners at their quota do not count."""
    facts = {"job_class": job.job_class, "owner": job.owner, "but": job.id, "versions": json.dumps(versions)}
    row = session.execute(text(_WAITING), facts).one()
    return Waiting(row.short, row.others)
