"""What became of a set of jobs, read from the database and the stored objects alone: plain SQL, nothing of the code under test.

`audit` replays each job's history and looks for jobs that were lost, committed twice, stuck or failed; `recoveries` measures how long it took
from a fault to the next start or commit. tests/chaos/test_auditor.py shows that it finds each of these in a doctored database.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

ENDS = {"succeeded", "failed", "cancelled"}
RETURNS = {"lost", "interrupted", "deferred", "yielded", "drained"}
"""Events that end an attempt without ending the job."""

Row = dict[str, Any]
Until = Literal["start", "end", "commit", "submission"]
"""Of the job that was struck: its next start, its end. Of any job: the next finished cell or result, the next one accepted."""


@dataclass
class Audit:
    """Findings by job: a job counts once in each column, under the first thing that is wrong with it."""

    jobs: int
    lost: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, str] = field(default_factory=dict)
    stuck: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    poison: int = 0
    cancelled: int = 0

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.failed)


@dataclass(frozen=True)
class Strike:
    """One fault: when, and what counts as having recovered from it."""

    at: datetime
    until: Until
    job: str | None = None


def connect(url: str) -> psycopg.Connection[Row]:
    """A connection of the auditor's own to the database that a SQLAlchemy URL names."""
    return psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True, connect_timeout=5, row_factory=dict_row)


def audit(
    connection: psycopg.Connection[Row],
    label: str,
    acknowledged: Iterable[str],
    *,
    objects: Path,
    poison: Collection[str] = (),
    cancelled: Collection[str] = (),
) -> Audit:
    """Audits the jobs named `label`; `acknowledged`: those that the service acknowledged; `poison` and `cancelled` are those meant to end so.

    lost: acknowledged but no row; a success without its result, file or cell; a gap in the history.
    doubled: a row that was not acknowledged; a second ending; a cell written twice; a write or an ending without a lease.
    stuck: not ended. failed: ended otherwise than meant.
    """
    rows = {row["id"]: row for row in connection.execute("SELECT * FROM jobs WHERE name = %s", [label])}
    told = set(acknowledged)
    found = Audit(jobs=len(told | rows.keys()))
    found.lost |= dict.fromkeys(told - rows.keys(), "acknowledged, but the database does not know it")
    found.doubled |= dict.fromkeys(rows.keys() - told, "it was not acknowledged: one submission made two jobs")
    events = _by_job(connection, "SELECT * FROM job_events WHERE job_id = ANY(%s) ORDER BY seq", rows)
    cells = _by_job(connection, "SELECT * FROM job_cells WHERE job_id = ANY(%s)", rows)
    files = _by_job(connection, "SELECT * FROM artifacts WHERE job_id = ANY(%s)", rows)
    whole = {digest: _is_whole(objects, digest) for kept in (cells, files) for job in kept.values() for digest in _digests(job)}
    for job, row in rows.items():
        history = events.get(job, [])
        if twice := _doubled(history):
            found.doubled.setdefault(job, twice)
        if gone := _lost(row, history, cells.get(job, []), files.get(job, []), whole):
            found.lost.setdefault(job, gone)
        _judge_end(found, row, poison=job in poison, cancelled=job in cancelled)
    return found


def _by_job(connection: psycopg.Connection[Row], statement: str, jobs: Mapping[str, Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in connection.execute(statement, [list(jobs)]):
        found.setdefault(row["job_id"], []).append(row)
    return found


def _doubled(history: list[Row]) -> str | None:
    """Replays a history in which only the holder of a lease writes, and nothing follows an ending."""
    held, ended = False, None
    seen: Counter[str] = Counter()
    for event in history:
        what = event["type"]
        if ended:
            return f"{what} after it had {ended}"
        if what == "started":
            if held:
                return "started by one while another held it"
            held = True
        elif what in RETURNS or what in {"cell", "phase", "succeeded"}:
            if not held:
                return f"{what} by a worker without the lease"
            held = what not in RETURNS
        if what == "cell":
            seen[event["data"]["cell"]] += 1
        ended = what if what in ENDS else None
    twice = [cell for cell, times in seen.items() if times > 1]
    return f"the cell {twice[0]} was committed {seen[twice[0]]} times" if twice else None


def _lost(row: Row, history: list[Row], cells: list[Row], files: list[Row], whole: Mapping[str, bool]) -> str | None:
    if [event["seq"] for event in history] != list(range(1, row["event_seq"] + 1)):
        return "its history has gaps"
    if row["attempt"] != sum(event["type"] == "started" for event in history):
        return f"{row['attempt']} attempts do not fit its history"
    if {event["data"]["cell"] for event in history if event["type"] == "cell"} != {cell["cell"] for cell in cells}:
        return "a finished cell is gone"
    if missing := [digest for digest in _digests([*cells, *files]) if not whole[digest]]:
        return f"the object {missing[0][:12]} is gone or damaged"
    if row["state"] == "succeeded" and (row["result"] is None or not files):
        return "it succeeded, but its result is gone"
    return None


def _judge_end(found: Audit, row: Row, *, poison: bool, cancelled: bool) -> None:
    state, error = row["state"], row["error"] or {}
    if state not in ENDS:
        found.stuck[row["id"]] = f"{state}, {row['phase']}, attempt {row['attempt']}"
    elif poison and (state, error.get("code"), row["attempt"], row["losses"]) == ("failed", "poison", 3, 3):
        if "SIGKILL" in error["detail"]:
            found.poison += 1
        else:
            found.failed[row["id"]] = f"poison that does not name the signal: {error['detail']}"
    elif cancelled and state == "cancelled":
        found.cancelled += 1
    elif state != "succeeded" or poison or cancelled:
        found.failed[row["id"]] = f"{state}: {error.get('code')}: {error.get('detail')}"


def _digests(rows: Iterable[Row]) -> set[str]:
    return {row["digest"] for row in rows}


def _is_whole(objects: Path, digest: str) -> bool:
    try:
        return hashlib.sha256((objects / "sha256" / digest).read_bytes()).hexdigest() == digest
    except OSError:
        return False


_NEXT = {
    "start": "SELECT min(at) AS at FROM job_events WHERE type = 'started' AND job_id = %(job)s AND at > %(at)s",
    "commit": """SELECT min(e.at) AS at FROM job_events e JOIN jobs j ON j.id = e.job_id
        WHERE j.name = %(label)s AND e.type IN ('cell', 'succeeded') AND e.at > %(at)s""",
    "end": "SELECT min(at) AS at FROM job_events WHERE type IN ('succeeded', 'failed', 'cancelled') AND job_id = %(job)s AND at > %(at)s",
    "submission": "SELECT min(created_at) AS at FROM jobs WHERE name = %(label)s AND created_at > %(at)s",
}


def recoveries(connection: psycopg.Connection[Row], label: str, strikes: Iterable[Strike]) -> list[float]:
    """Seconds from each fault to what counts as recovery from it; a fault that nothing followed is left out."""
    found = []
    for strike in strikes:
        row = connection.execute(_NEXT[strike.until], {"job": strike.job, "label": label, "at": strike.at}).fetchone()
        if row and row["at"] is not None:
            found.append((row["at"] - strike.at).total_seconds())
    return found


def setbacks(connection: psycopg.Connection[Row], label: str) -> list[Strike]:
    """Every attempt of these jobs that ended without ending the job, as the strike that it was: for faults that come by themselves."""
    rows = connection.execute(
        "SELECT e.at, e.job_id FROM job_events e JOIN jobs j ON j.id = e.job_id WHERE j.name = %s AND e.type = ANY(%s) ORDER BY e.at",
        [label, list(RETURNS)],
    )
    return [Strike(row["at"], "start", row["job_id"]) for row in rows]
