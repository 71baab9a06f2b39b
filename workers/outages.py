"""Going through outages of the database: what a running job writes waits for it, for as long as the job's lease may still be its own."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from workers.handlers.base import LeaseLost

T = TypeVar("T")

log = structlog.get_logger(__name__)


def through_outages(work: Callable[[], T], lost: Callable[[], bool]) -> T:
    """`work()`, again and again while the database is away. Raises LeaseLost once `lost()`, and what else `work` raises at once."""
    pause = 0.1
    while not lost():
        try:
            return work()
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            log.warning("database.away", error=type(error).__name__)
        time.sleep(pause)
        pause = min(2.0, pause * 2)
    raise LeaseLost


def is_outage(error: SQLAlchemyError) -> bool:
    """Connection trouble, a restart, deadlocks, timeouts: not the statement's fault."""
    if isinstance(error, NoConnection):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or state is None or state[:2] in {"08", "40", "53", "55", "57"}
