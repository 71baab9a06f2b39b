"""Database statements for paused and drained devices."""

from sqlalchemy import ColumnElement, Float, cast, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.devices.models import DeviceHold, Worker
from app.moments import ahead

GONE_SECONDS = 86_400
"""Seconds after which the host of a silent worker counts as gone for good."""
SILENT = cast(func.extract("epoch", func.now() - Worker.seen_at), Float)
"""Seconds since a worker last reported."""


def in_force() -> ColumnElement[bool]:
    """Returns the condition that a hold is in force: it has no end, or its end lies in the future."""
    return or_(DeviceHold.until.is_(None), DeviceHold.until > func.now())


def mode_of(session: Session, worker_id: str) -> str | None:
    """Returns `paused` or `draining`; None when no hold keeps the node from claiming."""
    return session.scalar(select(DeviceHold.mode).where(DeviceHold.worker_id == worker_id, in_force()))


def mode_for_claiming(session: Session, worker_id: str) -> str | None:
    """Returns `mode_of` the node for a claim in this transaction, and makes new holds wait until the transaction ends.

    A hold that was committed before is therefore seen, and a later hold begins only after the claim. Both lock the node's row: the claim's
    shared lock excludes `lock_worker`, but neither the heartbeat's updates nor other claims.
    """
    session.execute(select(Worker.id).where(Worker.id == worker_id).with_for_update(read=True, key_share=True))
    return mode_of(session, worker_id)


def lock_worker(session: Session, worker_id: str) -> Worker | None:
    """Returns the node's row, locked until the transaction ends, after waiting for the node's claims in progress; None if it is unknown."""
    return session.get(Worker, worker_id, with_for_update=True)


def hold(session: Session, worker_id: str, *, mode: str, reason: str | None, held_by: str, minutes: float | None) -> None:
    """Holds the node from claiming, for `minutes` or without end (None); replaces an earlier hold. `held_by` is the user who holds it."""
    until = None if minutes is None else ahead(minutes=minutes)
    row = {"mode": mode, "reason": reason, "held_by": held_by, "held_at": func.now(), "until": until}
    statement = insert(DeviceHold).values(worker_id=worker_id, **row)
    session.execute(statement.on_conflict_do_update(index_elements=["worker_id"], set_=row))


def release(session: Session, worker_id: str) -> None:
    """Removes the hold of a node, if it has one."""
    session.execute(delete(DeviceHold).where(DeviceHold.worker_id == worker_id))
