"""Waking requests that wait for a job to change, at the price of one database connection per process.

One connection LISTENs; a notification carries a job's id and wakes those who watch that job. Every `POLL` seconds one statement looks at all
watched jobs, for what no notification tells (a place in the queue) and for notifications that were lost. A waiter holds an
asyncio.Event and nothing else; when woken it reads its job through the pool like anybody.
"""

import asyncio
import contextlib
from collections.abc import Hashable, Iterator, Sequence

import psycopg
import structlog
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from app.db import AsyncDatabase, connect_args
from app.jobs.fingerprints import fingerprints
from app.jobs.transitions import CHANNEL

log = structlog.get_logger()

POLL = 5.0
RETRY_AFTER = (0.1, 0.5, 1, 2, 5)
"""Pauses between attempts to listen again."""


class Wakeups:
    """Whoever waits for a job in this process."""

    def __init__(self, database_url: str, database: AsyncDatabase, *, slice_seconds: float) -> None:
        self._conninfo = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._database = database
        self._slice = slice_seconds
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._seen: dict[str, Hashable] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.closing = asyncio.Event()
        self.listening = asyncio.Event()

    def start(self) -> None:
        """Begins to listen and to poll."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._poll())]

    async def close(self) -> None:
        """Wakes everybody for the last time and stops."""
        self.release()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def release(self) -> None:
        """The server is about to stop: waiting requests answer with what there is, streams tell their clients to reconnect."""
        self.closing.set()
        self._wake(list(self._watchers))

    @contextlib.contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at each change of the job from now on; clear it before reading the job, or a change is missed."""
        event = asyncio.Event()
        self._watchers.setdefault(job_id, set()).add(event)
        try:
            yield event
        finally:
            watchers = self._watchers[job_id]
            watchers.discard(event)
            if not watchers:
                del self._watchers[job_id]
                self._seen.pop(job_id, None)

    def watched(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._watchers.values()))

    def _wake(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            for event in self._watchers.get(job_id, ()):
                event.set()

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                async with await self._connect() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    failures = 0
                    self.listening.set()
                    self._wake(list(self._watchers))  # what happened while nobody listened
                    async for notification in connection.notifies():
                        self._wake([notification.payload])
            except psycopg.Error as error:
                log.warning("listener_lost", error=type(error).__name__)
            self.listening.clear()
            await asyncio.sleep(RETRY_AFTER[min(failures, len(RETRY_AFTER) - 1)])
            failures += 1

    async def _connect(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        options = {**connect_args(), "application_name": "binnacle listener"}
        return await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True, **options)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            if not self._watchers:
                continue
            try:
                now = await self._database.run(fingerprints, list(self._watchers), slice_seconds=self._slice)
            except (SQLAlchemyError, OSError) as error:
                log.warning("poll_failed", error=type(error).__name__)
                continue
            self._wake(
                [job_id for job_id, seen in now.items() if self._seen.get(job_id, seen) != seen or job_id not in self._seen]
            )
            self._seen = {job_id: seen for job_id, seen in now.items() if job_id in self._watchers}
