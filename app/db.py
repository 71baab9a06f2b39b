"""Engines and sessions of the database. Repositories hold the SQL, services the transactions; both run in the API and in workers.

Repositories and services are written once, for a synchronous Session. The API runs them in a greenlet on an async engine, so that a
waiting request holds neither a thread nor a connection; workers run them directly.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import ContextVar
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from pydantic_core import from_json
from sqlalchemy import ARRAY, ColumnElement, Connection, Engine, MetaData, String, any_, create_engine, event, literal, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from app.outages import ROOM, Room, explain, is_full
from app.places import Bounds, Places
from app.retrying import retried

Rows = Session | Connection
"""What a function needs that only reads rows: both have `execute` and `scalars`."""
S = TypeVar("S", Session, Connection)
T = TypeVar("T")
P = ParamSpec("P")
FULL_PATIENCE = 5.0
"""Seconds for which a request is retried while the database refuses another connection."""
IDLE_SECONDS = 2.0
"""Seconds after which an idle pooled connection is pinged before use, which costs a round trip."""
CONFLICTS = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialization failure and of a deadlock: the transaction was rolled back and is likely to succeed when repeated."""

log = structlog.get_logger(__name__)

NAMES = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


class Base(DeclarativeBase):
    """The declarative base; its naming convention lets migrations name every constraint."""

    metadata = MetaData(naming_convention=NAMES)


def connect_args(statement_timeout: float = 10) -> dict[str, int | str]:
    """Returns connection options that detect a dead or hung database within seconds.

    The server, in turn, closes the connections of an unreachable client within a minute instead of after hours.
    """
    patience = {
        "statement_timeout": int(statement_timeout * 1000),
        "idle_in_transaction_session_timeout": 30_000,
        "tcp_keepalives_idle": 30,
        "tcp_keepalives_interval": 10,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
    return {
        "connect_timeout": 5,
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        "options": " ".join(f"-c {name}={value}" for name, value in patience.items()),
        "application_name": "binnacle",
    }


def make_engine(url: str, *, pool_size: int = 10) -> Engine:
    """Returns a synchronous engine of at most `pool_size` connections, for workers, migrations and the command line."""
    engine = create_engine(
        url, pool_size=pool_size, max_overflow=0, pool_use_lifo=True, pool_timeout=10, connect_args=connect_args()
    )
    _ping_when_idle(engine)
    return engine


def make_async_engine(url: str, *, connections: int = 20) -> AsyncEngine:
    """Returns an engine for the API's event loop, on the same driver and URL. In a burst, requests wait for a connection and do not fail.

    Half of the connections are closed after the burst. The connection used last is reused first: its statements are prepared and its server
    process is in the caches.
    """
    kept = (connections + 1) // 2
    engine = create_async_engine(
        url,
        pool_size=kept,
        max_overflow=connections - kept,
        pool_use_lifo=True,
        pool_timeout=30,
        connect_args=connect_args(),
        json_deserializer=from_json,  # two to three times as fast as json.loads
    )
    _ping_when_idle(engine.sync_engine)
    return engine


def among(column: InstrumentedAttribute[str], values: Collection[str]) -> ColumnElement[bool]:
    """Returns the condition that a column holds one of the values. They are one parameter.

    With one for each value, as `in_` makes, a statement of each length is prepared apart, the plan of a prepared statement for a page read a
    whole index, and a statement holds 65,535 at most.
    """
    return column == any_(literal(list(values), ARRAY(String)))


def _ping_when_idle(engine: Engine) -> None:
    """Pings a connection before use if it was idle in the pool for IDLE_SECONDS or more."""

    @event.listens_for(engine, "checkin")
    def _left(_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info["left"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _taken(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        if time.monotonic() - record.info.get("left", time.monotonic()) < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error


def make_sessions(engine: Engine, **info: object) -> sessionmaker[Session]:
    """Returns a session factory; `with sessions.begin() as session:` is one transaction. `info` goes to every session (`bell=`, see
    app.bell).
    """
    return sessionmaker(engine, expire_on_commit=False, info=info)


def reading(sessions: sessionmaker[Session]) -> sessionmaker[Session]:
    """Returns a session factory for single reads: in autocommit mode each statement is one message to the database."""
    engine = sessions.kw["bind"].execution_options(isolation_level="AUTOCOMMIT")
    return sessionmaker(engine, expire_on_commit=False, info=sessions.kw["info"])


def in_transaction(
    sessions: sessionmaker[Session], work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Runs `work(session, *args, **kwargs)` in one transaction, and repeats it once after a deadlock or serialization failure."""

    def once() -> T:
        with sessions.begin() as session:
            return work(session, *args, **kwargs)

    return once_more_if(conflicted, once)


def once_more_if(undone: Callable[[DBAPIError], bool], once: Callable[[], T]) -> T:
    """Calls `once`, which is one whole transaction, and calls it a second time if `undone` accepts its error."""
    pauses = iter([0.0])
    return retried(once, DBAPIError, lambda error: next(pauses, None) if undone(error) else None)


def conflicted(error: DBAPIError) -> bool:
    """Returns whether the transaction was rolled back because it conflicted with another one."""
    conflict = getattr(error.orig, "sqlstate", None) in CONFLICTS
    if conflict:
        log.warning("transaction.conflict", cause=type(error.orig).__name__)
    return conflict


def _undone(error: DBAPIError) -> bool:
    """Returns whether nothing was committed, because of a conflict or because the connection died during a statement.

    After a failed COMMIT, which has no statement, the outcome is unknown.
    """
    return conflicted(error) or (error.connection_invalidated and error.statement is not None)


asker: ContextVar[str | None] = ContextVar("asker", default=None)
"""The user of the current request; None for the service's own work: health, keys, and reads that serve many requests at once."""
OURS = 4
"""Connections that users' requests leave free for the service's own work; fewer in a small pool."""
PATIENCE = 30.0
"""Seconds that a request waits for a connection."""


class AsyncDatabase:
    """Runs transactions for the API: `await db.run(service.submit, request)` runs a synchronous function of a Session in a transaction.

    One user holds at most half of the connections at once, and all users together leave `OURS` free.
    """

    def __init__(self, url: str, *, connections: int = 20, **info: object) -> None:
        self.engine = make_async_engine(url, connections=connections)
        self.connections = connections
        self.room: Room | None = None
        most = max(1, connections - min(OURS, connections // 3))
        self._places = Places("requests", Bounds(most, max(1, connections // 2), waiting=1_000, patience=PATIENCE))
        info = {"turns": set(), **info}  # `turns` is read by app.jobs.service
        self._sessions = make_sessions(self.engine.sync_engine, **info)
        self._reads = reading(self._sessions)
        self._longer = async_sessionmaker(self.engine, expire_on_commit=False, info=info)
        event.listen(self.engine.sync_engine, "first_connect", self._measure)

    def _measure(self, connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        """Reads the database's connection limits at the first connection, while connections are still available."""
        cursor = connection.cursor()
        cursor.execute(ROOM.text)
        limits = cursor.fetchone()
        assert limits is not None
        self.room = Room(*limits)
        cursor.close()
        connection.rollback()

    def explain(self, error: Exception) -> tuple[str, str]:
        """Returns the code and text of the API's answer to an error that means that the database is unavailable."""
        return explain(error, room=self.room, pool=self.connections)

    async def run(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work(session, *args, **kwargs)` in one transaction: committed when it returns, rolled back when it raises.

        May call `work` several times: again in a new transaction after a conflict with another transaction or on a dead connection, and for a
        few seconds while the database has no free connection. Raises Problem 429 when too many requests of the same user run at once.
        """
        return await self._placed(self._sessions.begin, lambda session: work(session, *args, **kwargs))

    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` that only reads, without a transaction, which saves two messages to the database.

        Each statement sees what is committed when it starts.
        """
        return await self._placed(self._reads, lambda session: work(session, *args, **kwargs))

    async def read_rows(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` as `read` does, on a connection: without entities to keep, a session would only take a twentieth of a request's CPU."""
        return await self._placed(self._reads.kw["bind"].connect, lambda connection: work(connection, *args, **kwargs))

    async def _placed(self, opened: Callable[[], AbstractContextManager[S]], work: Callable[[S], T]) -> T:
        owner = asker.get()
        if owner is None:
            return await self._persistently(opened, work)
        async with self._places.place(owner):
            return await self._persistently(opened, work)

    async def _persistently(self, opened: Callable[[], AbstractContextManager[S]], work: Callable[[S], T]) -> T:
        def whole() -> T:
            with opened() as session:
                return work(session)

        until = time.monotonic() + FULL_PATIENCE
        while True:
            try:
                return await greenlet_spawn(once_more_if, _undone, whole)  # one for all of it; an AsyncSession would need three
            except DBAPIError as error:
                if not is_full(error) or time.monotonic() > until:
                    raise
            await asyncio.sleep(0.1)

    def begin(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Returns a transaction for more than one function call: `async with database.begin() as session`."""
        return self._longer.begin()

    async def ping(self) -> None:
        """Raises the driver's error when the database does not answer."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Closes the pool of connections."""
        await self.engine.dispose()
