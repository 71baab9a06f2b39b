"""Moments by the database's clock, and which clock to ask.

- The database's clock for each moment that is stored, or compared with a stored one: leases, holds, the validity of keys, retention, messages to
  be sent. Processes run on several hosts, and the clocks of hosts differ. `func.now()` is the start of the transaction; a transaction that
  may have waited for a lock reads `clock_timestamp()` where the wait matters. Literal SQL has `now() - make_interval(secs => :seconds)`.
- The process's monotonic clock for durations and deadlines within a process: it cannot be set.
- The process's wall clock for what the database does not compare: cookies and signatures, ages of files and objects, ids, and how long ago
  something happened, on a page.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func

TimeAndId = tuple[datetime, str]
"""The time and the id of an entry: its place in a list that is sorted by both."""


def ago(*, days: float = 0, minutes: float = 0, seconds: float = 0) -> ColumnElement[datetime]:
    """Returns the moment so long before the start of the transaction, by the database's clock, as an SQL expression."""
    return func.now() - timedelta(days=days, minutes=minutes, seconds=seconds)


def ahead(*, minutes: float = 0, seconds: float = 0) -> ColumnElement[datetime]:
    """Returns the moment so long after the start of the transaction, by the database's clock, as an SQL expression."""
    return func.now() + timedelta(minutes=minutes, seconds=seconds)
