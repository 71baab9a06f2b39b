"""Engines and sessions of the one database. Repositories hold the SQL, services the transactions; neither knows which side it runs on.

Repositories and services are written once, for a synchronous Session. The API runs them on an async engine through `run_sync`, so that
a waiting request holds neither a thread nor a connection; workers run them directly.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from sqlalchemy import Engine, MetaData, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

T = TypeVar("T")
CONFLICTS = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialization failure and of a deadlock: the transaction was undone, and the same one may well succeed now."""

log = structlog.get_logger(__name__)

NAMES = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


class Base(DeclarativeBase):
    """The declarative base; its naming convention is what lets migrations name every constraint."""

    metadata = MetaData(naming_convention=NAMES)


def connect_args(statement_timeout: float = 10) -> dict[str, Any]:
    """Connection options under which a dead or hung database is noticed in seconds, never waited for without end.

    And the other way round: the server gives up a host that was cut off within a minute, not after hours of keeping its connections.
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


def make_engine(url: str, *, pool_size: int = 5) -> Engine:
    """A synchronous engine, for workers, migrations and the command line."""
    return create_engine(
        url, pool_size=pool_size, max_overflow=5, pool_pre_ping=True, pool_timeout=10, connect_args=connect_args()
    )


def make_async_engine(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """An engine for the API's event loop, on the same driver and URL. A burst of requests waits for a connection rather than fail."""
    return create_async_engine(
        url, pool_size=pool_size, max_overflow=10, pool_pre_ping=True, pool_timeout=30, connect_args=connect_args()
    )


def make_sessions(engine: Engine, **info: Any) -> sessionmaker[Session]:
    """Session factory; `with sessions.begin() as session:` is one transaction. `info` goes to every session (`bell=`, see app.jobs.bell)."""
    return sessionmaker(engine, expire_on_commit=False, info=info)


def in_transaction(sessions: sessionmaker[Session], work: Callable[..., T], *args: Any) -> T:
    """`work(session, *args)` in one transaction, and once more when the database chose it as the victim of a conflict."""
    try:
        with sessions.begin() as session:
            return work(session, *args)
    except DBAPIError as error:
        if not conflicted(error):
            raise
    with sessions.begin() as session:
        return work(session, *args)


def conflicted(error: DBAPIError) -> bool:
    """Whether two transactions were in each other's way and this one was undone."""
    found = getattr(error.orig, "sqlstate", None) in CONFLICTS
    if found:
        log.warning("transaction.conflict", cause=type(error.orig).__name__)
    return found


class AsyncDatabase:
    """The API's way to a transaction: `await db.run(service.submit, request)` runs a synchronous function of a Session in one."""

    def __init__(self, url: str, **info: Any) -> None:
        self.engine = make_async_engine(url)
        self._sessions = async_sessionmaker(self.engine, class_=AsyncSession, expire_on_commit=False, info=info)

    async def run(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """`work(session, *args, **kwargs)` in one transaction: committed when it returns, rolled back when it raises.

        It may be called twice: again in a new transaction when the database undid the first for a conflict with another.
        """
        try:
            return await self._run(work, *args, **kwargs)
        except DBAPIError as error:
            if not conflicted(error):
                raise
        return await self._run(work, *args, **kwargs)

    async def _run(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        async with self._sessions.begin() as session:
            return await session.run_sync(work, *args, **kwargs)

    async def ping(self) -> None:
        """Raises what the driver raises when the database does not answer."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()
