"""Keeps node names unique: two nodes with one name would treat each other's jobs as those of a dead child.

A node that starts with a name that was active recently waits for one round of its parent's watch: a killed predecessor no longer updates the
row, another living node does. If two nodes start at the same moment and so do not see each other, the row belongs to the first that writes it,
and the other stops. The same holds for a node that was suspended, its host asleep, while another took its name: it stops when it wakes.
"""

import os
import socket
import time
from datetime import datetime

import structlog
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.devices.models import Worker
from app.moments import ago
from app.settings import LeaseSettings

log = structlog.get_logger(__name__)


def is_taken(sessions: sessionmaker[Session], worker_id: str, settings: LeaseSettings) -> bool:
    """Whether a living node has the name. False where the database does not answer, because then no living node could have updated the row."""
    lately = 3 * settings.watch
    try:
        before, age = _seen(sessions, worker_id)
        if before is None or age > lately:
            return False
        time.sleep(1.5 * settings.watch + 0.5)
        return _seen(sessions, worker_id)[0] != before
    except SQLAlchemyError as error:
        log.warning("name.unchecked", error=type(error).__name__)
        return False


def is_ours(worker: Worker) -> bool:
    """Whether the row belongs to this process, and not to a predecessor or another node with the same name."""
    return worker.parent_pid == os.getpid() and worker.host == socket.gethostname()


def ours(worker_id: str) -> ColumnElement[bool]:
    """`is_ours` as a condition on the row with this name."""
    return and_(Worker.id == worker_id, Worker.parent_pid == os.getpid(), Worker.host == socket.gethostname())


def unless_living(settings: LeaseSettings, *, rounds: float) -> ColumnElement[bool]:
    """A condition on an existing row with this node's name: it was not updated for `rounds` rounds of a parent's watch.

    Also true if the row has this process's pid and host, as in a restarted container: the predecessor has ended.
    """
    silent = Worker.seen_at < ago(seconds=rounds * settings.watch)
    return or_(silent, and_(Worker.parent_pid == os.getpid(), Worker.host == socket.gethostname()))


def _seen(sessions: sessionmaker[Session], worker_id: str) -> tuple[datetime | None, float]:
    """The time of the node's last update, and how many seconds ago it was; None for a name without a node."""
    with sessions() as session:
        age = func.extract("epoch", func.now() - Worker.seen_at)
        row = session.execute(select(Worker.seen_at, age).where(Worker.id == worker_id)).one_or_none()
    return (None, 0.0) if row is None else (row[0], float(row[1]))
