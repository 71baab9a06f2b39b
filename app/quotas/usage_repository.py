"""SQL statements that read and update usage per user: stored bytes, unfinished jobs and daily usage.

Bytes are counted by reference: each object that a user's rows refer to counts once for that user. An object that two users refer to
counts for both, because either of them may be the last to release it. The disk holds it once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.quotas.usage_models import UsageDay
from app.tallies import DISK, tally

# (owner, digest) of every reference. A test compares this with the foreign keys of the schema.
_REFERENCES = """
    SELECT j.owner, c.digest FROM job_cells c JOIN jobs j ON j.id = c.job_id
    UNION SELECT j.owner, a.digest FROM artifacts a JOIN jobs j ON j.id = a.job_id
    UNION SELECT v.owner, v.digest FROM vectors v
    UNION SELECT t.owner, t.version FROM traits t"""
# Bytes of each owner's objects that another owner also refers to: as last determined, and determined again for objects in the news.
_OWNERS_OF_SHARED = """
SELECT o.digest, o.owner, b.size AS bytes FROM stored_objects o JOIN blobs b USING (digest)
WHERE o.refs > 0 AND o.digest = ANY({digests}) AND (SELECT count(*) FROM stored_objects s WHERE s.digest = o.digest AND s.refs > 0) > 1"""
_SHARED_BYTES = text(f"""
WITH news AS MATERIALIZED (SELECT coalesce(array_agg(DISTINCT digest), '{{}}') AS digests FROM stored_news)
SELECT owner, CAST(sum(bytes) AS bigint) AS bytes FROM (
    SELECT digest, owner, bytes FROM stored_shared WHERE digest <> ALL((SELECT digests FROM news)::text[])
    UNION ALL {_OWNERS_OF_SHARED.format(digests="(SELECT digests FROM news)::text[]")}
) AS parts GROUP BY owner""")
_READ_NEWS = text("""
DELETE FROM stored_news WHERE id IN (SELECT id FROM stored_news ORDER BY id LIMIT :most) RETURNING digest""")
_FORGET_SHARED = text("DELETE FROM stored_shared WHERE digest = ANY(:digests)")
_NOTE_SHARED = text(f"INSERT INTO stored_shared (digest, owner, bytes) {_OWNERS_OF_SHARED.format(digests=':digests')}")
_COUNTED = """
SELECT owner, CAST(sum(bytes) AS bigint) AS bytes, CAST(sum(objects) AS bigint) AS objects FROM (
    SELECT owner, bytes, objects FROM stored_totals UNION ALL SELECT owner, bytes, objects FROM stored_changes
) AS parts {narrowed} GROUP BY owner"""
_COUNTED_OF_ALL = text(_COUNTED.format(narrowed=""))
_COUNTED_OF_ONE = text(_COUNTED.format(narrowed="WHERE owner = :owner"))
_ADD_UP = text("""
WITH taken AS (
    DELETE FROM stored_changes WHERE id IN (SELECT id FROM stored_changes ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)
    RETURNING owner, bytes, objects
)
INSERT INTO stored_totals AS t (owner, bytes, objects)
SELECT owner, sum(bytes), sum(objects) FROM taken GROUP BY owner ORDER BY owner
ON CONFLICT (owner) DO UPDATE SET bytes = t.bytes + excluded.bytes, objects = t.objects + excluded.objects""")
_MISCOUNTED = text(f"""
WITH counted AS ({_COUNTED.format(narrowed="")}), true_ones AS (
    SELECT r.owner, CAST(sum(b.size) AS bigint) AS bytes, count(*) AS objects
    FROM ({_REFERENCES}) AS r JOIN blobs b USING (digest) GROUP BY r.owner
)
SELECT owner, coalesce(c.bytes, 0) AS counted, coalesce(t.bytes, 0) AS bytes
FROM counted c FULL JOIN true_ones t USING (owner)
WHERE (coalesce(c.bytes, 0), coalesce(c.objects, 0)) IS DISTINCT FROM (coalesce(t.bytes, 0), coalesce(t.objects, 0)) ORDER BY owner""")
_UNDER_WAY = """
SELECT owner, count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state <> 'queued') AS running,
    CAST(coalesce(sum(extract(epoch FROM now() - started_at)) FILTER (WHERE state <> 'queued' AND job_class = 'model'), 0) AS float8)
        AS running_seconds
FROM jobs WHERE state IN ('queued', 'running', 'cancelling') {narrowed} GROUP BY owner"""

NEWS_LOCK = 0x4E455753  # "NEWS"


@dataclass(frozen=True)
class Stored:
    """Number and bytes of the objects that a user refers to; `shared` is the bytes of objects that other users also refer to."""

    objects: int = 0
    bytes: int = 0
    shared: int = 0


@dataclass(frozen=True)
class Miscount:
    """An owner with a wrong count: `counted` is the stored count, `bytes` the true sum."""

    owner: str
    counted: int
    bytes: int


@dataclass(frozen=True)
class UnderWay:
    """A user's unfinished jobs, and how long those on devices have run."""

    queued: int = 0
    running: int = 0
    running_seconds: float = 0.0


def stored_bytes(session: Session, owner: str) -> int:
    """Returns the bytes of all objects that the owner refers to, from the running count. The cost does not grow with their number."""
    row = session.execute(_COUNTED_OF_ONE, {"owner": owner}).one_or_none()
    return 0 if row is None else int(row.bytes)


def add_up(session: Session, *, most: int = 100_000) -> None:
    """Moves changes into the totals, so that reading stays cheap. Several processes may call it at once; readers count each change once."""
    session.execute(_ADD_UP, {"most": most})
    _read_news(session, most)


def _read_news(session: Session, most: int) -> None:
    """Determines who shares the objects in the news; one process at a time, so that the newest result is written last."""
    if not session.scalar(select(func.pg_try_advisory_xact_lock(NEWS_LOCK))):
        return
    digests = sorted(set(session.scalars(_READ_NEWS, {"most": most})))
    if digests:
        session.execute(_FORGET_SHARED, {"digests": digests})
        session.execute(_NOTE_SHARED, {"digests": digests})


def miscounted(session: Session) -> list[Miscount]:
    """Returns the owners with a count that differs from the sum over their references. The time grows with the number of references."""
    return [Miscount(*row) for row in session.execute(_MISCOUNTED)]


def recount(session: Session) -> None:
    """Recounts the stored bytes of all owners. References and jobs cannot change until the transaction ends."""
    session.execute(text("SELECT stored_recount()"))


def stored(session: Session, owner: str | None, *, shared: bool) -> dict[str, Stored]:
    """Returns stored objects by user: of `owner`, or of all users if `owner` is None; shared bytes are 0 unless requested."""
    rows = session.execute(_COUNTED_OF_ALL) if owner is None else session.execute(_COUNTED_OF_ONE, {"owner": owner})
    others = {row.owner: row.bytes for row in session.execute(_SHARED_BYTES)} if shared else {}
    return {row.owner: Stored(row.objects, row.bytes, others.get(row.owner, 0)) for row in rows if row.objects}


def on_disk(session: Session) -> int:
    """Returns the bytes of all objects, each counted once, including objects without references."""
    return tally(session, DISK).get("", 0)


def under_way(session: Session, owner: str | None) -> dict[str, UnderWay]:
    """Returns unfinished jobs by user: of `owner`, or of all users if `owner` is None."""
    statement = text(_UNDER_WAY.format(narrowed="" if owner is None else "AND owner = :owner"))
    rows = session.execute(statement, {} if owner is None else {"owner": owner})
    return {row.owner: UnderWay(row.queued, row.running, row.running_seconds) for row in rows}


def today(session: Session) -> date:
    """Returns the current day in UTC, by the database's clock."""
    day: date | None = session.scalar(text("SELECT CAST(now() AT TIME ZONE 'UTC' AS date)"))
    assert day is not None
    return day


def days(session: Session, owner: str | None, *, since: date) -> Mapping[str, Sequence[UsageDay]]:
    """Returns daily usage since a day, by user, oldest first."""
    statement = select(UsageDay).where(UsageDay.day >= since).order_by(UsageDay.day, UsageDay.job_class)
    if owner is not None:
        statement = statement.where(UsageDay.owner == owner)
    by_owner: dict[str, list[UsageDay]] = {}
    for row in session.scalars(statement):
        by_owner.setdefault(row.owner, []).append(row)
    return by_owner
