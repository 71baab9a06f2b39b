"""Retries a running job's reads and writes during outages: for the database while the lease may still be valid, and for
the object store a few seconds, since computing again costs more than waiting; after that the job is postponed.
"""

from collections.abc import Callable
from itertools import chain, repeat
from typing import TypeVar

import structlog
from sqlalchemy.exc import DataError, DBAPIError, NotSupportedError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from app.retrying import retried
from app.storage.base import ObjectMissing, StorageDenied, StorageError, StorageFull
from workers.job import LeaseLost

T = TypeVar("T")

DATABASE_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 2.0)
"""Seconds between tries while the database is unreachable; the last is repeated."""
STORAGE_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between tries after a storage error."""

log = structlog.get_logger(__name__)


def through_outages(work: Callable[[], T], lost: Callable[[], bool]) -> T:
    """Returns the result of `work()`, repeated while the database is unreachable.

    Raises LeaseLost once `lost()`, and any other error of `work` at once.
    """
    pauses = chain(DATABASE_PAUSES, repeat(DATABASE_PAUSES[-1]))

    def unless_lost() -> T:
        if lost():
            raise LeaseLost
        return work()

    def pause_after(error: SQLAlchemyError) -> float | None:
        if not is_outage(error):
            return None
        log.warning("database.away", error=type(error).__name__)
        return next(pauses)

    return retried(unless_lost, SQLAlchemyError, pause_after)


def through_storage_errors(work: Callable[[], T], lost: Callable[[], bool]) -> T:
    """Returns the result of `work()`, tried again after a temporary storage error. Raises the last StorageError, and what `through_outages`
    raises."""
    pauses = iter(STORAGE_PAUSES)

    def pause_after(error: StorageError) -> float | None:
        if lost() or isinstance(error, (StorageFull, StorageDenied, ObjectMissing)) or (pause := next(pauses, None)) is None:
            return None
        log.warning("storage.retry", error=str(error))
        return pause

    return retried(lambda: through_outages(work, lost), StorageError, pause_after)


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
