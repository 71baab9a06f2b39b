"""Keeps node names unique: two nodes with one name would take each other's jobs for those of a dead child.

A node that starts under a name whose row was touched lately waits for one round of its parent's watch: a predecessor that was killed touches
it no more, another living node does. Of two that start in the same moment and so see nobody, the row goes to the first that writes it, and
the other leaves.
"""

import os
import socket
import time
from datetime import timedelta

import structlog
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.devices.models import Worker
from app.settings import LeaseSettings

log = structlog.get_logger(__name__)


def is_taken(sessions: sessionmaker[Session], worker_id: str, settings: LeaseSettings) -> bool:
    """Whether a living node has the name. False where the database does not answer: then nobody can have seen it alive."""
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
    """Whether the row is this process's, and neither a predecessor's nor a twin's."""
    return worker.parent_pid == os.getpid() and worker.host == socket.gethostname()


def unless_living(settings: LeaseSettings) -> ColumnElement[bool]:
    """Of a row in the way of a node that starts: that nobody has touched it for longer than a living node's parent lets pass.

    Or it has this process's number and host, as in a container that was started again: its predecessor is gone.
    """
    silent = Worker.seen_at < func.now() - timedelta(seconds=1.25 * settings.watch)
    return or_(silent, and_(Worker.parent_pid == os.getpid(), Worker.host == socket.gethostname()))


def _seen(sessions: sessionmaker[Session], worker_id: str) -> tuple[object, float]:
    """When the name's node was last seen, and how many seconds ago; None for a name without a node."""
    with sessions() as session:
        age = func.extract("epoch", func.now() - Worker.seen_at)
        row = session.execute(select(Worker.seen_at, age).where(Worker.id == worker_id)).one_or_none()
    return (None, 0.0) if row is None else (row[0], float(row[1]))
