"""Database statements for quotas and their use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.quotas.limits import BUILT_IN_QUEUED, limit_of
from app.quotas.models import EVERYBODY, UNLIMITED, Quota
from terms.values import JsonObject

LOCK = 0x51554F54  # "QUOT"


@dataclass(frozen=True)
class Queue:
    """Numbers of a user's queued jobs and of those created by this transaction."""

    queued: int
    made: int


@dataclass(frozen=True)
class DeviceTime:
    """Device seconds of attempts that ended today (UTC) or are running; when the day ends, and in how many seconds."""

    seconds: float
    resets_at: datetime
    resets_in: float


def lock(session: Session, owner: str, *, patience: float) -> None:
    """Locks the admission of the owner's jobs until the transaction ends. Raises OperationalError (LockNotAvailable) after `patience` s."""
    session.execute(text("SELECT set_config('lock_timeout', :patience, true)"), {"patience": f"{patience * 1000:.0f}ms"})
    session.execute(text("SELECT pg_advisory_xact_lock(:lock, hashtext(:owner))"), {"lock": LOCK, "owner": owner})


_QUEUE = """SELECT count(*) AS queued, count(*) FILTER (WHERE created_at = now()) AS made
FROM jobs WHERE owner = :owner AND state = 'queued'"""
"""Jobs of this transaction are recognized by `created_at`, which is its start time."""

_SURE = text(f"""
WITH limits AS MATERIALIZED (
    SELECT {limit_of("max_queued", ":owner", BUILT_IN_QUEUED)} AS queued,
        least({limit_of("device_seconds_per_day", ":owner")}, {limit_of("stored_bytes", ":owner")}) = {UNLIMITED} AS only_queued
)
SELECT CASE WHEN NOT only_queued THEN false WHEN queued = {UNLIMITED} THEN true
    WHEN (SELECT found.made <= :jobs AND found.queued <= limits.queued - :room FROM ({_QUEUE}) AS found)
    THEN pg_try_advisory_xact_lock_shared(:lock, hashtext(:owner)) ELSE false END
FROM limits""")
"""CASE, because jobs are counted, and the lock is taken, only where it matters."""


def surely_admitted(session: Session, owner: str, *, jobs: int, room: int) -> bool:
    """Returns whether no quota can refuse the jobs of this transaction: nothing is limited, or only the number of queued jobs is, this
    transaction created at most `jobs` of them, and `room` more would be allowed.

    In the second case, any later holder of the `lock` waits for this transaction to end, so that its count includes these jobs.
    """
    return bool(session.scalar(_SURE, {"owner": owner, "lock": LOCK, "jobs": jobs, "room": room}))


def queue(session: Session, owner: str) -> Queue:
    """Counts the owner's queued jobs, and those of this transaction."""
    row = session.execute(text(_QUEUE), {"owner": owner}).one()
    return Queue(row.queued, row.made)


def device_time(session: Session, owner: str) -> DeviceTime:
    """Returns the device time that counts today. An attempt counts on the day it ends, so the whole time of a running attempt counts today."""
    row = session.execute(
        text("""
        WITH day AS (SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AS began)
        SELECT CAST(coalesce((SELECT sum(device_seconds) FROM usage_days
                WHERE owner = :owner AND job_class = 'model' AND day = CAST(began AS date)), 0)
            + coalesce((SELECT sum(extract(epoch FROM now() - started_at)) FROM jobs
                WHERE owner = :owner AND job_class = 'model' AND state IN ('running', 'cancelling')), 0) AS float8) AS seconds,
            (began + interval '1 day') AT TIME ZONE 'UTC' AS resets_at,
            CAST(extract(epoch FROM (began + interval '1 day') AT TIME ZONE 'UTC' - now()) AS float8) AS resets_in
        FROM day"""),
        {"owner": owner},
    ).one()
    return DeviceTime(row.seconds, row.resets_at, row.resets_in)


def listing(session: Session) -> Sequence[Quota]:
    """Returns every user's own quota, by name."""
    return session.scalars(select(Quota).where(Quota.owner != EVERYBODY).order_by(Quota.owner)).all()


def put(session: Session, owner: str, values: JsonObject, changed_by: str) -> Quota:
    """Stores a quota, replacing an earlier one, and returns it."""
    row = {**values, "changed_by": changed_by, "changed_at": func.now()}
    statement = (
        insert(Quota).values(owner=owner, **row).on_conflict_do_update(index_elements=["owner"], set_=row).returning(Quota)
    )
    return session.scalars(statement, execution_options={"populate_existing": True}).one()


def remove(session: Session, owner: str) -> bool:
    """Removes a quota; returns whether it existed."""
    return session.scalar(delete(Quota).where(Quota.owner == owner).returning(Quota.owner)) is not None
