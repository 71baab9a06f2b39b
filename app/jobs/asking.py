"""A look at a job that may take its time: the answer comes when something changed, and no connection is held meanwhile."""

import asyncio
import time

from fastapi import Request
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.context import Context
from app.jobs import service
from app.jobs.responses import etag_of, named
from app.jobs.schemas import JobOut
from app.jobs.states import FINISHED
from app.jobs.views import views


def seen(session: Session, job_id: str, viewer: Viewer, slice_seconds: float) -> JobOut:
    """The job as this viewer sees it. Raises Problem 404."""
    return views(session, [service.find(session, job_id, viewer)], slice_seconds=slice_seconds)[0]


async def changed(context: Context, request: Request, job_id: str, viewer: Viewer, seconds: float) -> JobOut:
    """The job as soon as it differs from what the caller knows (If-None-Match, else its state at arrival), or after `seconds`."""
    ends = time.monotonic() + min(seconds, context.settings.limit.wait_seconds)
    with context.wakeups.watch(job_id) as woken:
        job = await context.database.run(seen, job_id, viewer, context.settings.lease.slice)
        condition = request.headers.get("if-none-match")
        known = etag_of(job.model_dump_json().encode()) if condition is None else condition
        while named(known, etag_of(job.model_dump_json().encode())) and job.state not in FINISHED:
            left = ends - time.monotonic()
            if left <= 0 or context.wakeups.closing.is_set():
                break
            try:
                await asyncio.wait_for(woken.wait(), left)
            except TimeoutError:
                break
            if await request.is_disconnected():
                break
            woken.clear()
            job = await context.database.run(seen, job_id, viewer, context.settings.lease.slice)
    return job
