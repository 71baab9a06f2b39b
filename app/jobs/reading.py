"""Reading jobs for many requests at once: those that ask while a read is on its way share the next one.

When a change wakes five hundred waiting requests, this is a few transactions and not five hundred. A read always begins after the request
for it, so nobody is answered with a job older than their question.
"""

import asyncio
from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.db import AsyncDatabase
from app.errors import not_found
from app.jobs import repository
from app.jobs.models import Job
from app.jobs.schemas import JobOut
from app.jobs.views import views

AT_ONCE = 4
"""Reads on their way at the same time."""
LARGEST = 200
"""Jobs in one read."""

Waiting = dict[str, list[asyncio.Future[JobOut]]]


class Reader:
    """Jobs as their viewers see them."""

    def __init__(self, database: AsyncDatabase, *, slice_seconds: float) -> None:
        self._database = database
        self._slice = slice_seconds
        self._waiting: dict[Viewer, Waiting] = {}
        self._free = asyncio.Semaphore(AT_ONCE)
        self._reads: set[asyncio.Task[None]] = set()

    async def job(self, job_id: str, viewer: Viewer) -> JobOut:
        """The job as it is now. Raises Problem 404."""
        answer: asyncio.Future[JobOut] = asyncio.get_running_loop().create_future()
        if viewer not in self._waiting:
            self._waiting[viewer] = {}
            read = asyncio.create_task(self._read(viewer))
            self._reads.add(read)
            read.add_done_callback(self._reads.discard)
        self._waiting[viewer].setdefault(job_id, []).append(answer)
        return await answer

    async def _read(self, viewer: Viewer) -> None:
        async with self._free:
            waiting = self._waiting.pop(viewer)
            ids = list(waiting)
            try:
                for start in range(0, len(ids), LARGEST):
                    some = ids[start : start + LARGEST]
                    found = await self._database.run(_seen, some, viewer, self._slice)
                    for job_id in some:
                        _answer(waiting[job_id], found.get(job_id, not_found("job", job_id)))
            except Exception as error:
                for answers in waiting.values():
                    _answer(answers, error)


def _answer(answers: Sequence[asyncio.Future[JobOut]], result: JobOut | Exception) -> None:
    """Tells those who still wait."""
    for answer in answers:
        if answer.done():
            continue
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)


def _seen(session: Session, job_ids: Sequence[str], viewer: Viewer, slice_seconds: float) -> dict[str, JobOut]:
    jobs = session.scalars(repository.visible(viewer).where(Job.id.in_(job_ids))).all()
    return {job.id: job for job in views(session, jobs, viewer, slice_seconds=slice_seconds)}
