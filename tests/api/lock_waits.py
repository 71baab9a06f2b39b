"""Waits until statements of the service wait for a lock in Postgres, so that no test sleeps for that."""

import time
from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def waiting(sessions: sessionmaker[Session]) -> int:
    """How many statements wait for a lock now."""
    with sessions() as session:  # a new one each time: a transaction sees the activity of its first look
        return session.scalar(text(WAITING)) or 0


def until(sessions: sessionmaker[Session], expected: Callable[[int], bool], seconds: float = 60) -> int:
    """How many statements wait for a lock: the first count that is as expected, or the last one seen."""
    ends = time.monotonic() + seconds
    while not expected(found := waiting(sessions)) and time.monotonic() < ends:
        time.sleep(0.05)
    return found


def until_one_waits(sessions: sessionmaker[Session]) -> None:
    """Returns once a statement waits for a lock; fails after a minute."""
    assert until(sessions, lambda n: n > 0), "no statement waits for a lock"
