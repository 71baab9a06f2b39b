"""Every statement about what users use. Bytes are counted by reference: a user stores every object that a row of theirs refers to, once.

An object that two users refer to counts for both, as either may be the last to let it go; on the disk it lies once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.storage.models import BlobRow
from app.usage.models import UsageDay

# (owner, digest) of every reference there is; `%s` narrows each part to one owner. A test compares it with the foreign keys there are.
_REFERENCES = """
    SELECT j.owner, c.digest FROM job_cells c JOIN jobs j ON j.id = c.job_id %(jobs)s
    UNION SELECT j.owner, a.digest FROM artifacts a JOIN jobs j ON j.id = a.job_id %(jobs)s
    UNION SELECT v.owner, v.digest FROM vectors v %(vectors)s
    UNION SELECT t.owner, t.version FROM traits t %(traits)s"""
_EVERYBODYS = _REFERENCES % {"jobs": "", "vectors": "", "traits": ""}
_OWN = _REFERENCES % {"jobs": "WHERE j.owner = :owner", "vectors": "WHERE v.owner = :owner", "traits": "WHERE t.owner = :owner"}

_STORED_BY_ALL = text(f"""
WITH held AS (SELECT owner, digest, count(*) OVER (PARTITION BY digest) > 1 AS shared FROM ({_EVERYBODYS}) AS r)
SELECT h.owner, count(*) AS objects, CAST(sum(b.size) AS bigint) AS bytes,
    CAST(coalesce(sum(b.size) FILTER (WHERE h.shared), 0) AS bigint) AS shared
FROM held h JOIN blobs b USING (digest) GROUP BY h.owner""")
_STORED_BY_ONE = text(f"""
WITH held AS MATERIALIZED ({_OWN})
SELECT h.owner, count(*) AS objects, CAST(sum(b.size) AS bigint) AS bytes, CAST(coalesce(sum(b.size) FILTER (WHERE
    EXISTS (SELECT 1 FROM job_cells c JOIN jobs j ON j.id = c.job_id WHERE c.digest = h.digest AND j.owner <> h.owner)
    OR EXISTS (SELECT 1 FROM artifacts a JOIN jobs j ON j.id = a.job_id WHERE a.digest = h.digest AND j.owner <> h.owner)
    OR EXISTS (SELECT 1 FROM vectors v WHERE v.digest = h.digest AND v.owner <> h.owner)
    OR EXISTS (SELECT 1 FROM traits t WHERE t.version = h.digest AND t.owner <> h.owner)), 0) AS bigint) AS shared
FROM held h JOIN blobs b USING (digest) GROUP BY h.owner""")
_BYTES_OF_ONE = text(f"SELECT CAST(coalesce(sum(b.size), 0) AS bigint) FROM ({_OWN}) AS h JOIN blobs b USING (digest)")
_UNDER_WAY = """
SELECT owner, count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state <> 'queued') AS running,
    CAST(coalesce(sum(extract(epoch FROM now() - started_at)) FILTER (WHERE state <> 'queued' AND job_class = 'model'), 0) AS float8)
        AS running_seconds
FROM jobs WHERE state IN ('queued', 'running', 'cancelling') {narrowed} GROUP BY owner"""


@dataclass(frozen=True)
class Stored:
    """Objects that a user refers to; `shared` are the bytes of those that others refer to too."""

    objects: int = 0
    bytes: int = 0
    shared: int = 0


@dataclass(frozen=True)
class UnderWay:
    """A user's unfinished jobs, and how long those on devices have run."""

    queued: int = 0
    running: int = 0
    running_seconds: float = 0.0


def stored_bytes(session: Session, owner: str) -> int:
    """Bytes of everything that the owner refers to."""
    return session.scalar(_BYTES_OF_ONE, {"owner": owner}) or 0


def stored(session: Session, owner: str | None) -> dict[str, Stored]:
    """By user; of one of them, or of all."""
    rows = session.execute(_STORED_BY_ALL) if owner is None else session.execute(_STORED_BY_ONE, {"owner": owner})
    return {row.owner: Stored(row.objects, row.bytes, row.shared) for row in rows}


def on_disk(session: Session) -> int:
    """Bytes of all objects, each once, those among them that nothing refers to any more."""
    return int(session.scalar(select(func.coalesce(func.sum(BlobRow.size), 0))) or 0)


def under_way(session: Session, owner: str | None) -> dict[str, UnderWay]:
    """By user."""
    statement = text(_UNDER_WAY.format(narrowed="" if owner is None else "AND owner = :owner"))
    rows = session.execute(statement, {} if owner is None else {"owner": owner})
    return {row.owner: UnderWay(row.queued, row.running, row.running_seconds) for row in rows}


def today(session: Session) -> date:
    """The day in UTC, by the database's clock."""
    found: date | None = session.scalar(text("SELECT CAST(now() AT TIME ZONE 'UTC' AS date)"))
    assert found is not None
    return found


def days(session: Session, owner: str | None, *, since: date) -> Mapping[str, Sequence[UsageDay]]:
    """The book from a day on, by user, oldest first."""
    statement = select(UsageDay).where(UsageDay.day >= since).order_by(UsageDay.day, UsageDay.job_class)
    if owner is not None:
        statement = statement.where(UsageDay.owner == owner)
    found: dict[str, list[UsageDay]] = {}
    for row in session.scalars(statement):
        found.setdefault(row.owner, []).append(row)
    return found
