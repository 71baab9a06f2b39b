"""A look at a job that may take its time: the answer comes when something changed, and no connection is held meanwhile."""

import contextlib
import time
from functools import partial

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError

from app.auth.access import unauthenticated
from app.auth.keyring import RECHECK
from app.auth.viewer import Viewer
from app.context import Context
from app.jobs.fingerprints import Fingerprint
from app.jobs.responses import etag_of, named
from app.jobs.schemas import JobOut
from app.jobs.states import FINISHED
from app.jobs.views import WAITING


async def changed(context: Context, request: Request, job_id: str, viewer: Viewer, seconds: float) -> JobOut:
    """The job as soon as it differs from what the caller knows (If-None-Match, else its state at arrival), or after `seconds`.

    Raises Problem 401 and 404 within five seconds when the key opens nothing any more, or the caller may not see the job any more.
    """
    ends = time.monotonic() + min(seconds, context.settings.limit.wait_seconds)
    viewer = await still(context, viewer)
    with context.wakeups.watch(job_id) as watch:
        job = await context.reader.job(job_id, viewer)
        condition = request.headers.get("if-none-match")
        known = etag_of(job.model_dump_json().encode()) if condition is None else condition
        while named(known, etag_of(job.model_dump_json().encode())) and job.state not in FINISHED:
            left = ends - time.monotonic()
            if left <= 0 or context.wakeups.closing.is_set():
                break
            watch.knows = partial(_knows, job)
            news = await watch.wait(min(left, RECHECK))
            if await request.is_disconnected():
                break
            before = viewer
            with contextlib.suppress(SQLAlchemyError, OSError):  # while the database is away no key is revoked
                viewer = await still(context, viewer)
            if news or viewer != before:  # with other groups, what was seen may be another's now
                watch.clear()
                job = await context.reader.job(job_id, viewer)
    return job


async def still(context: Context, viewer: Viewer) -> Viewer:
    """Who the caller is by now. Raises Problem 401 when the key was revoked or has expired meanwhile."""
    now = await context.keyring.current(viewer)
    if now is None:
        raise unauthenticated()
    return now


def _knows(job: JobOut, found: Fingerprint) -> bool:
    """Whether a look at the row found nothing that differs from the job as it was read."""
    phase = found.phase if job.phase == WAITING else job.phase  # a waiting job's phase is not the row's
    reason = None if job.waits_because is None else job.waits_because.code
    read = (job.state, phase, job.progress.done, job.eta_at, job.position, reason)
    return read == (found.state, found.phase, found.done, found.eta_at, found.position, found.reason)
