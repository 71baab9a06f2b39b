"""Sends a job's history as server-sent events: first the stored events, then new ones.

Every event comes from the database, in order, whatever woke the stream: a lost notification delays events but loses none. A slow client
delays only its own stream, because the next page is read only when the last page was sent.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.auth.keyring import RECHECK, Keyring
from app.auth.viewer import Viewer
from app.db import AsyncDatabase
from app.errors import Problem
from app.jobs import service
from app.jobs.models import JobEvent
from app.jobs.schemas import EventOut
from app.jobs.states import FINISHED
from app.jobs.waiting import Fingerprint, Wakeups, Watch

PAGE = 200
PING = 15.0
RECONNECT_MS = 1000


async def stream(
    database: AsyncDatabase, wakeups: Wakeups, keyring: Keyring, job_id: str, viewer: Viewer, *, after: int, lifetime: float
) -> AsyncIterator[bytes]:
    """Yields events numbered past `after`, until the job has ended.

    Ends with a `reconnect` event after `lifetime` seconds, when the server stops, or when the caller may no longer see the job: the client's
    next request gets the reason.
    """
    spoke = time.monotonic()
    ends = spoke + lifetime
    with wakeups.watch(job_id) as watch:
        while True:
            watch.clear()
            now_is = await keyring.current(viewer)
            found = None if now_is is None else await _seen(database, job_id, now_is, after)
            if now_is is None or found is None:
                yield _reconnect(after)
                return
            viewer, (page, over) = now_is, found
            for event in page:
                after = event.seq
                yield _frame(event)
                spoke = time.monotonic()
            if len(page) == PAGE:
                continue
            if over:
                return
            now = time.monotonic()
            if now >= ends or wakeups.closing.is_set():
                yield _reconnect(after)
                return
            if now - spoke >= PING:
                yield KEEPALIVE_COMMENT
                spoke = now
            watch.knows = partial(_knows, after)
            await _news(watch, min(ends, spoke + PING), keyring, viewer)


async def _seen(database: AsyncDatabase, job_id: str, viewer: Viewer, after: int) -> tuple[Sequence[JobEvent], bool] | None:
    """Returns the result of `_page`, or None when the caller may no longer see the job."""
    try:
        return await database.run(_page, job_id, viewer, after)
    except Problem:
        return None


async def _news(watch: Watch, until: float, keyring: Keyring, viewer: Viewer) -> None:
    """Returns when there is news, at `until`, or soon after the caller's key was revoked or their groups changed."""
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(SQLAlchemyError, OSError):  # keys cannot be revoked while the database is unavailable
            if await watch.wait(min(left, RECHECK)) or await keyring.current(viewer) != viewer:
                return


def _reconnect(after: int) -> bytes:
    return format_sse_event(event="reconnect", data_str=f'{{"after": {after}}}', retry=RECONNECT_MS)


def _page(session: Session, job_id: str, viewer: Viewer, after: int) -> tuple[Sequence[JobEvent], bool]:
    """Returns the next events, and whether the job had ended before they were read, so that no more will follow."""
    over = service.find(session, job_id, viewer).state in FINISHED
    return service.events(session, job_id, viewer, after, PAGE), over


def _frame(event: JobEvent) -> bytes:
    body = EventOut.model_validate(event, from_attributes=True)
    return format_sse_event(id=str(event.seq), event=event.type, data_str=body.model_dump_json())


def _knows(after: int, found: Fingerprint) -> bool:
    """Returns True when the job has no events after `after`."""
    return found.event_seq <= after
