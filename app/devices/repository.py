"""Database statements for paused and drained devices."""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.devices.models import DeviceHold, Worker


def in_force() -> ColumnElement[bool]:
    """Whether a hold still counts: it ends by itself when its time is over."""
    return or_(DeviceHold.until.is_(None), DeviceHold.until > func.now())


def mode_of(session: Session, worker_id: str) -> str | None:
    """`paused`, `draining`, or None when the node may claim."""
    return session.scalar(select(DeviceHold.mode).where(DeviceHold.worker_id == worker_id, in_force()))


def mode_for_claiming(session: Session, worker_id: str) -> str | None:
    """The same for a claim in this transaction: a hold that was answered before it began is seen, one that comes now waits for its end.

    The node's row is what the two meet at; its share lock disturbs neither the heartbeat's updates nor other claims.
    """
    session.execute(select(Worker.id).where(Worker.id == worker_id).with_for_update(read=True, key_share=True))
    return mode_of(session, worker_id)


def lock_worker(session: Session, worker_id: str) -> Worker | None:
    """The node's row, once no claim of it is under way."""
    return session.get(Worker, worker_id, with_for_update=True)


def hold(session: Session, worker_id: str, *, mode: str, reason: str | None, held_by: str, minutes: float | None) -> None:
    """Holds the node, in place of an earlier hold."""
    until = None if minutes is None else func.now() + timedelta(minutes=minutes)
    row = {"mode": mode, "reason": reason, "held_by": held_by, "held_at": func.now(), "until": until}
    statement = insert(DeviceHold).values(worker_id=worker_id, **row)
    session.execute(statement.on_conflict_do_update(index_elements=["worker_id"], set_=row))


def release(session: Session, worker_id: str) -> None:
    """Takes a hold away, if there is one."""
    session.execute(delete(DeviceHold).where(DeviceHold.worker_id == worker_id))
