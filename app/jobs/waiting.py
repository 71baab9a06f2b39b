"""Wakes requests that wait for a job to change, with one database connection per process.

One connection LISTENs; a notification carries a job's id and wakes the requests that watch this job. Every `POLL` seconds a few statements
read all watched jobs, to catch lost notifications and changes without a notification (a place in the queue); they wake a watch if it does not
know the state found. A waiting request holds only a Watch; when woken, it reads its job through the connection pool like any request.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import structlog
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from sqlalchemy import make_url, select
from sqlalchemy.exc import SQLAlchemyError

from app.db import AsyncDatabase, Rows, among, connect_args
from app.jobs.models import Job
from app.jobs.standing import Standing, standings
from app.jobs.transitions import CHANNEL


@dataclass(frozen=True)
class Fingerprint:
    """A job's state, phase, progress, place in the queue and reason to wait, and the number of its last event."""

    state: str
    phase: str
    done: int
    eta_at: datetime | None
    position: int | None
    reason: str | None
    event_seq: int


def fingerprints(database: Rows, job_ids: Sequence[str], *, slice_seconds: float) -> dict[str, Fingerprint]:
    """Returns the fingerprints of the jobs that exist, by id."""
    rows = database.execute(select(*_COLUMNS).where(among(Job.id, job_ids))).all()
    standing = standings(database, rows, None, slice_seconds=slice_seconds)
    return {row.id: _fingerprint(row, standing.get(row.id, Standing())) for row in rows}


_COLUMNS = (
    Job.id, Job.state, Job.event_seq, Job.phase, Job.progress_done, Job.eta_at,
    Job.job_class, Job.short, Job.owner, Job.blockers, Job.losses, Job.not_before,
)  # fmt: skip


def _fingerprint(row: Any, standing: Standing) -> Fingerprint:
    reason = None if standing.reason is None else standing.reason.code
    return Fingerprint(row.state, row.phase, row.progress_done, row.eta_at, standing.position, reason, row.event_seq)


log = structlog.get_logger()

POLL = 5.0
RETRY_AFTER = (0.1, 0.5, 1, 2, 5)
"""Seconds between attempts to listen again."""


class Watch:
    """The place of one waiting request. Clear it before reading the job, or a change may be missed."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self.clear = self._news.clear
        self.wake = self._news.set
        self.knows: Callable[[Fingerprint], bool] = lambda _fingerprint: False
        """Returns True if the waiting request already knows this fingerprint. By default every fingerprint is news."""

    async def wait(self, seconds: float) -> bool:
        """Waits up to `seconds` and returns whether there was news."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return False
        return True


class Wakeups:
    """The requests of this process that wait for jobs."""

    def __init__(self, database_url: str, database: AsyncDatabase, *, slice_seconds: float) -> None:
        self._conninfo = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._database = database
        self._slice = slice_seconds
        self._watchers: dict[str, set[Watch]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.closing = asyncio.Event()
        self.listening = asyncio.Event()

    def start(self) -> None:
        """Starts listening and polling."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._poll(POLL))]

    async def close(self) -> None:
        """Wakes all waiting requests for the last time and stops."""
        self.release()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def release(self) -> None:
        """Wakes all waiting requests because the server stops: they answer with the current state, streams tell their clients to reconnect."""
        self.closing.set()
        self._wake(list(self._watchers))

    @contextlib.contextmanager
    def watch(self, job_id: str) -> Iterator[Watch]:
        """Returns a context with a watch that is woken at each change of the job."""
        watch = Watch()
        self._watchers.setdefault(job_id, set()).add(watch)
        try:
            yield watch
        finally:
            watchers = self._watchers[job_id]
            watchers.discard(watch)
            if not watchers:
                del self._watchers[job_id]

    def watched(self) -> int:
        """Returns the number of waiting requests."""
        return sum(map(len, self._watchers.values()))

    def _wake(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            for watch in self._watchers.get(job_id, ()):
                watch.wake()

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                async with await self._connect() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    failures = 0
                    self.listening.set()
                    self._wake(list(self._watchers))  # changes may have been missed while no connection was listening
                    async for notification in connection.notifies():
                        self._wake([notification.payload])
            except psycopg.Error as error:
                log.warning("listener_lost", error=type(error).__name__)
            self.listening.clear()
            await asyncio.sleep(RETRY_AFTER[min(failures, len(RETRY_AFTER) - 1)])
            failures += 1

    async def _connect(self) -> psycopg.AsyncConnection[TupleRow]:
        where = make_conninfo(self._conninfo, **connect_args() | {"application_name": "binnacle listener"})
        return await psycopg.AsyncConnection.connect(where, autocommit=True)

    async def _poll(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            if not self._watchers:
                continue
            try:
                now = await self._database.read_rows(fingerprints, list(self._watchers), slice_seconds=self._slice)
            except (SQLAlchemyError, OSError) as error:
                log.warning("poll_failed", error=type(error).__name__)
                continue
            for job_id, fingerprint in now.items():
                for watch in self._watchers.get(job_id, ()):
                    if not watch.knows(fingerprint):
                        watch.wake()
