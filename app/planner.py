"""Transactions that take seconds of this process's time, a study's plan above all: in threads and on connections of their own.

So the event loop answers others meanwhile, and the pool that answers them has all of its connections. One user has one at a time.
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
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db import asker, conflicted, make_engine, make_sessions
from app.places import Bounds, Places

T = TypeVar("T")
P = ParamSpec("P")
Connection = psycopg.Connection[TupleRow]
log = structlog.get_logger()

THREADS = 2
"""Plans at once in one process; each holds one connection."""
WAITING = 8
"""Of one user; a plan takes a second or a few."""
_STOP = "stop"


class Abandoned(Exception):
    """The client is gone, and the plan was given up."""


class _Stop:
    """Tells a thread that nobody waits for it any more."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._using = threading.Lock()
        self._connection: Connection | None = None

    @contextmanager
    def using(self, connection: Connection) -> Iterator[None]:
        """While the body runs, its statements can be ended; never those of whoever has the connection afterwards."""
        self._connection = connection
        try:
            yield
        finally:
            with self._using:
                self._connection = None

    def check(self) -> None:
        """Raises Abandoned when it was told."""
        if self._asked.is_set():
            raise Abandoned

    def ask(self) -> None:
        """Ends the thread's present statement, if any, and what would come after it."""
        self._asked.set()
        with self._using:
            if self._connection is not None:
                self._connection.cancel_safe(timeout=2)


def still_wanted(session: Session) -> None:
    """For loops within a plan. Raises Abandoned when the client is gone."""
    stop: _Stop | None = session.info.get(_STOP)
    if stop is not None:
        stop.check()


class Planner:
    """`await planner.run(service.submit, ...)`: what `AsyncDatabase.run` does, apart from it."""

    def __init__(self, url: str, *, patience: float, **info: object) -> None:
        self._engine = make_engine(url, pool_size=THREADS)
        self._sessions = make_sessions(self._engine, **info)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="plan")
        self._places = Places("studies being planned", Bounds(THREADS, each=1, waiting=WAITING, patience=patience))

    async def run(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work(session, *args, **kwargs)` in one transaction, given up when this task is cancelled. Raises Problem 429 `too_many_at_once`.

        It may be called twice: again in a new transaction when the database undid the first for a conflict with another.
        """

        def whole(session: Session) -> T:
            return work(session, *args, **kwargs)

        async with self._places.place(asker.get() or ""):
            stop = _Stop()
            done = asyncio.get_running_loop().run_in_executor(self._threads, self._work, stop, whole)
            try:
                return await asyncio.shield(done)
            except asyncio.CancelledError:
                await asyncio.to_thread(stop.ask)
                await asyncio.wait({done})
                log.info("plan_abandoned", failed=done.exception() is not None)
                raise

    def _work(self, stop: _Stop, work: Callable[[Session], T]) -> T:
        try:
            return self._once(stop, work)
        except DBAPIError as error:
            if not conflicted(error):
                raise
        return self._once(stop, work)

    def _once(self, stop: _Stop, work: Callable[[Session], T]) -> T:
        with self._sessions.begin() as session:
            session.info[_STOP] = stop
            connection = session.connection().connection.driver_connection
            assert isinstance(connection, psycopg.Connection)
            with stop.using(connection):
                found = work(session)
                session.flush()
            stop.check()
            return found

    def close(self) -> None:
        """Lets the present plans end."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._engine.dispose()
