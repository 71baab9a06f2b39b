"""Runs transactions that take seconds of CPU time, such as planning a study, in separate threads with separate connections.

So the event loop keeps answering, with all connections of its own pool. Each user has one such transaction at a time.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

import psycopg
import structlog
from psycopg.rows import TupleRow
from sqlalchemy.orm import Session

from app.db import asker, conflicted, make_engine, make_sessions, once_more_if
from app.places import Bounds, Places

T = TypeVar("T")
P = ParamSpec("P")
Connection = psycopg.Connection[TupleRow]
log = structlog.get_logger()

THREADS = 2
"""Plans that run at once in one process; each holds one connection."""
WAITING = 8
"""Most waiting plans of one user; a plan takes a second or a few."""
_STOP = "stop"


class Abandoned(Exception):
    """The client disconnected, so its plan was cancelled."""


class _Stop:
    """Tells a thread to stop because its client is gone."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._using = threading.Lock()
        self._connection: Connection | None = None

    @contextmanager
    def using(self, connection: Connection) -> Iterator[None]:
        """Returns a context in which the connection's statements can be cancelled; statements of its later users never are."""
        self._connection = connection
        try:
            yield
        finally:
            with self._using:
                self._connection = None

    def check(self) -> None:
        """Raises Abandoned if the thread was told to stop."""
        if self._asked.is_set():
            raise Abandoned

    def ask(self) -> None:
        """Cancels the thread's current statement, if any, and lets its next `check` raise; there is one before the commit."""
        self._asked.set()
        with self._using:
            if self._connection is not None:
                self._connection.cancel_safe(timeout=2)


def still_wanted(session: Session) -> None:
    """Raises Abandoned when the client is gone. Call it in loops within a plan."""
    stop: _Stop | None = session.info.get(_STOP)
    if stop is not None:
        stop.check()


class Planner:
    """Runs plans: `await planner.run(service.submit, ...)` works like `AsyncDatabase.run`, in separate threads."""

    def __init__(self, url: str, *, patience: float, **info: object) -> None:
        self._engine = make_engine(url, pool_size=THREADS)
        self._sessions = make_sessions(self._engine, **info)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="plan")
        self._places = Places("studies being planned", Bounds(THREADS, each=1, waiting=WAITING, patience=patience))

    async def run(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work(session, *args, **kwargs)` in one transaction; stops it when this task is cancelled.

        May call `work` twice: again in a new transaction after a conflict with another transaction. Raises Problem 429 `too_many_at_once`.
        """

        def whole(session: Session) -> T:
            return work(session, *args, **kwargs)

        async with self._places.place(asker.get() or ""):
            stop = _Stop()
            done = asyncio.get_running_loop().run_in_executor(
                self._threads, once_more_if, conflicted, lambda: self._once(stop, whole)
            )
            try:
                return await asyncio.shield(done)
            except asyncio.CancelledError:
                await asyncio.to_thread(stop.ask)
                await asyncio.wait({done})
                log.info("plan_abandoned", failed=done.exception() is not None)
                raise

    def _once(self, stop: _Stop, work: Callable[[Session], T]) -> T:
        with self._sessions.begin() as session:
            session.info[_STOP] = stop
            connection = session.connection().connection.driver_connection
            assert isinstance(connection, psycopg.Connection)
            with stop.using(connection):
                returned = work(session)
                session.flush()
            stop.check()
            return returned

    def close(self) -> None:
        """Waits for running plans and cancels queued ones."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._engine.dispose()
