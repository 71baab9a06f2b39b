"""Reads jobs for many requests at once, now or when they change.

Requests that arrive while a read is running share the next read: when a change wakes five hundred waiting requests, they need a few
transactions and not five hundred. A read always begins after the request for it, so every answer is at least as new as its request. A request
that waits for a change holds no database connection.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from fastapi import Request
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.auth.keyring import RECHECK
from app.auth.viewer import Viewer
from app.db import AsyncDatabase, asker
from app.errors import not_found
from app.etags import etag_of, names_etag
from app.http.access import unauthenticated
from app.http.context import Context
from app.jobs import repository
from app.jobs.schemas import JobOut
from app.jobs.states import FINISHED
from app.jobs.views import WAITING, views
from app.jobs.waiting import Fingerprint, Wakeups

AT_ONCE = 4
"""Most reads that run at the same time."""
LARGEST = 200
"""Most jobs in one read."""


@dataclass
class _Read:
    """A planned or running read: the waiting requests by job, and the task."""

    waiting: dict[str, list[asyncio.Future[JobOut]]] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    @property
    def wanted(self) -> bool:
        """Returns whether any request still waits for this read."""
        return any(not answer.done() for answers in self.waiting.values() for answer in answers)


class Reader:
    """Reads jobs as their viewers see them; requests of one viewer share a read."""

    def __init__(self, database: AsyncDatabase, *, slice_seconds: float) -> None:
        self._database = database
        self._slice = slice_seconds
        self._coming: dict[Viewer, _Read] = {}
        self._free = asyncio.Semaphore(AT_ONCE)

    async def job(self, job_id: str, viewer: Viewer) -> JobOut:
        """Returns the current job. Raises Problem 404. When all requests that wait for a read are cancelled, the read is cancelled too."""
        answer: asyncio.Future[JobOut] = asyncio.get_running_loop().create_future()
        read = self._coming.get(viewer)
        if read is None:
            read = self._coming[viewer] = _Read()
            read.task = asyncio.create_task(self._read(viewer, read))
        read.waiting.setdefault(job_id, []).append(answer)
        try:
            return await answer
        except asyncio.CancelledError:
            if read.task is not None and not read.wanted:
                self._begun(viewer, read)
                read.task.cancel()
            raise

    def _begun(self, viewer: Viewer, read: _Read) -> None:
        """Closes this read to new requests: the next request starts another read."""
        if self._coming.get(viewer) is read:
            del self._coming[viewer]

    async def _read(self, viewer: Viewer, read: _Read) -> None:
        asker.set(None)  # counted for no user: a read that waited for a user's turn would hold one of the AT_ONCE places
        async with self._free:
            self._begun(viewer, read)
            ids = list(read.waiting)
            try:
                for start in range(0, len(ids), LARGEST):
                    some = ids[start : start + LARGEST]
                    jobs = await self._database.read_rows(_seen, some, viewer, self._slice)
                    for job_id in some:
                        _answer(read.waiting[job_id], jobs.get(job_id, not_found("job", job_id)))
            except Exception as error:
                for answers in read.waiting.values():
                    _answer(answers, error)


def _answer(answers: Sequence[asyncio.Future[JobOut]], result: JobOut | Exception) -> None:
    """Gives the result to the requests that still wait."""
    for answer in answers:
        if answer.done():
            continue
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)


def _seen(connection: Connection, job_ids: Sequence[str], viewer: Viewer, slice_seconds: float) -> dict[str, JobOut]:
    rows = repository.seen_with_ids(connection, job_ids, viewer)
    return {job.id: job for job in views(connection, rows, viewer, slice_seconds=slice_seconds)}


async def changed(
    context: Context, request: Request, job_id: str, viewer: Viewer, seconds: float, *, only_the_end: bool = False
) -> JobOut:
    """Returns the job as soon as it differs from what the caller knows (If-None-Match, or its state at arrival), or after `seconds`; with
    `only_the_end`, returns once the job has ended.

    Raises Problem 401 or 404 within five seconds after the key becomes invalid or the caller loses access to the job.
    """
    ends = time.monotonic() + min(seconds, context.settings.limit.wait_seconds)
    viewer = await still(context, viewer)
    with context.part(Wakeups).watch(job_id) as watch:
        job = await context.part(Reader).job(job_id, viewer)
        condition = request.headers.get("if-none-match")
        known = etag_of(job.model_dump_json().encode()) if condition is None else condition
        while job.state not in FINISHED and (only_the_end or names_etag(known, etag_of(job.model_dump_json().encode()))):
            left = ends - time.monotonic()
            if left <= 0 or context.part(Wakeups).closing.is_set():
                break
            watch.knows = _goes_on if only_the_end else partial(_knows, job)
            news = await watch.wait(min(left, RECHECK))
            if await request.is_disconnected():
                break
            before = viewer
            with contextlib.suppress(SQLAlchemyError, OSError):  # keys cannot be revoked while the database is unavailable
                viewer = await still(context, viewer)
            if news or viewer != before:  # if the caller's groups changed, access to the job must be checked again
                watch.clear()
                job = await context.part(Reader).job(job_id, viewer)
    return job


async def still(context: Context, viewer: Viewer) -> Viewer:
    """Returns the caller with their current rights. Raises Problem 401 when the key was revoked or has expired meanwhile."""
    now = await context.keyring.current(viewer)
    if now is None:
        raise unauthenticated()
    return now


def _goes_on(fingerprint: Fingerprint) -> bool:
    """Returns whether the job has not ended yet."""
    return fingerprint.state not in FINISHED


def _knows(job: JobOut, current: Fingerprint) -> bool:
    """Returns True when the row found in the database does not differ from the job as it was read."""
    phase = current.phase if job.phase == WAITING else job.phase  # the phase `waiting` is computed, not stored in the row
    reason = None if job.waits_because is None else job.waits_because.code
    read = (job.state, phase, job.progress.done, job.eta_at, job.queue_position, reason)
    return read == (current.state, current.phase, current.done, current.eta_at, current.position, current.reason)
