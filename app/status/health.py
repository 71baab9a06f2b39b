"""Checks what the service needs, at most once a second: database, schema and storage are required; without the broker jobs start later."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor

import redis.asyncio

from app.db import AsyncDatabase
from app.migrate import current_revision, head_revision, knows
from app.outages import is_full
from app.settings import Settings
from app.status.broker import KEY, SECONDS, refusal
from app.status.probes import Probe
from app.status.schemas import Check, Readiness
from app.storage.base import Storage

PATIENCE = 5.0


class Health:
    """The checks of one application; each result is shared by all requests within a second."""

    def __init__(self, settings: Settings, database: AsyncDatabase, storage: Storage) -> None:
        self._settings = settings
        self._database = database
        self._storage_check = _StorageCheck(storage)
        self.readiness = Probe(self._readiness)
        self.broker = Probe(self._broker)

    async def _readiness(self) -> Readiness:
        """Returns the results of all checks, made at once, each within five seconds."""
        names = ("database", "migrations", "storage", "broker")
        results = await asyncio.gather(
            _check(self._database.ping(), "answers", self._shortage),
            self._migrations(),
            _check(self._storage_check(), "accepts objects"),
            self.broker(),
        )
        checks = dict(zip(names, results, strict=True))
        if not all(checks[name].ok for name in ("database", "migrations", "storage")):
            return Readiness(status="unready", checks=checks)
        return Readiness(status="ready" if checks["broker"].ok else "degraded", checks=checks)

    def _shortage(self, error: Exception) -> str:
        return self._database.explain(error)[1] if is_full(error) else _name(error)

    async def _broker(self) -> Check:
        """Returns whether the broker accepts a write."""
        url = self._settings.broker_url.get_secret_value()
        if url.startswith("redis+socket://"):  # kombu's name for a socket, which redis-py does not know
            url = "unix" + url.removeprefix("redis+socket").replace("virtual_host=", "db=")
        async with redis.asyncio.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            return await _check(client.set(self._settings.broker_prefix + KEY, "", ex=SECONDS), "accepts notifications", refusal)

    async def _migrations(self) -> Check:
        head = head_revision()
        try:
            async with asyncio.timeout(PATIENCE):
                present = await self._database.read(current_revision)
        except Exception as error:
            return Check(ok=False, detail=type(error).__name__)
        if present == head:
            return Check(ok=True, detail=head)
        # in a rolling restart the newest version migrates, and the older ones continue to serve
        if present is not None and not knows(present):
            return Check(ok=True, detail=f"{present}, newer than this server's {head}")
        detail = f"the database is at {present or 'no revision'}, this server needs {head}: run `binnacle prepare`"
        return Check(ok=False, detail=detail)


class _StorageCheck:
    """Checks the storage in one thread of its own, because no timeout ends a thread: on a mount that hangs, each check would keep one.

    Raises TimeoutError while the last check still runs, and the storage's errors.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="storage-check")
        self._running: Future[None] | None = None

    async def __call__(self) -> None:
        if self._running is not None and not self._running.done():
            raise TimeoutError
        self._running = self._thread.submit(self._storage.check)
        await asyncio.wrap_future(self._running)


def _name(error: Exception) -> str:
    """Returns the error's type alone: its text may hold an address or a password."""
    return type(error).__name__


async def _check(work: Awaitable[object], fine: str, wrong: Callable[[Exception], str] = _name) -> Check:
    try:
        async with asyncio.timeout(PATIENCE):
            await work
    except Exception as error:
        return Check(ok=False, detail=wrong(error))
    return Check(ok=True, detail=fine)
