"""Retries a running job's reads and writes during outages: for the database while the lease may still be valid, and for
the object store a few seconds, since computing again costs more than waiting; after that the job is postponed.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import DataError, DBAPIError, NotSupportedError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from app.storage.base import ObjectMissing, StorageDenied, StorageError, StorageFull
from workers.job import LeaseLost

T = TypeVar("T")

STORAGE_TRIES = 4

log = structlog.get_logger(__name__)


def through_outages(work: Callable[[], T], lost: Callable[[], bool]) -> T:
    """Returns the result of `work()`, repeated while the database is unreachable.

    Raises LeaseLost once `lost()`, and any other error of `work` at once.
    """
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


def through_storage_errors(work: Callable[[], T], lost: Callable[[], bool]) -> T:
    """Returns the result of `work()`, tried again after a temporary storage error. Raises the last StorageError, and what `through_outages`
    raises."""
    for tried in range(1, STORAGE_TRIES + 1):
        try:
            return through_outages(work, lost)
        except StorageError as error:
            if tried == STORAGE_TRIES or lost() or isinstance(error, (StorageFull, StorageDenied, ObjectMissing)):
                raise
            log.warning("storage.retry", error=str(error))
            time.sleep(2.0 ** (tried - 2))
    raise AssertionError("unreachable")


def is_outage(error: SQLAlchemyError) -> bool:
    """Whether the error comes from the connection or the server (a restart, a deadlock, a timeout), not from the statement."""
    if isinstance(error, NoConnection):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # the driver's own error, for example for a text that Postgres cannot hold
        return error.connection_invalidated or not isinstance(error, DataError | ProgrammingError | NotSupportedError)
    return error.connection_invalidated or state[:2] in {"08", "40", "53", "55", "57"}
