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
"""Events read by one statement."""
PING = 15.0
"""Seconds without an event after which a comment keeps the connection open."""
RECONNECT_MS = 1000
"""Milliseconds that the client waits before it connects again."""


async def stream(
    database: AsyncDatabase, wakeups: Wakeups, keyring: Keyring, job_id: str, viewer: Viewer, *, after: int, lifetime: float
) -> AsyncIterator[bytes]:
    """Yields events numbered past `after`, until the job has ended.

    Ends with a `reconnect` event after `lifetime` seconds, when the server stops, or when the caller may no longer see the job: the client's
    next request gets the reason.
    """
    sent_at = time.monotonic()
    ends = sent_at + lifetime
    with wakeups.watch(job_id) as watch:
        while True:
            watch.clear()
            current = await keyring.current(viewer)
            seen = None if current is None else await _seen(database, job_id, current, after)
            if current is None or seen is None:
                yield _reconnect(after)
                return
            viewer, (page, ended) = current, seen
            for event in page:
                after = event.seq
                yield _frame(event)
                sent_at = time.monotonic()
            if len(page) == PAGE:
                continue
            if ended:
                return
            now = time.monotonic()
            if now >= ends or wakeups.closing.is_set():
                yield _reconnect(after)
                return
            if now - sent_at >= PING:
                yield KEEPALIVE_COMMENT
                sent_at = now
            watch.knows = partial(_knows, after)
            await _news(watch, min(ends, sent_at + PING), keyring, viewer)


async def _seen(database: AsyncDatabase, job_id: str, viewer: Viewer, after: int) -> tuple[Sequence[JobEvent], bool] | None:
    """Returns the result of `_page`, or None when the caller may no longer see the job."""
    try:
        return await database.read(_page, job_id, viewer, after)
    except Problem:
        return None


async def _news(watch: Watch, until: float, keyring: Keyring, viewer: Viewer) -> None:
    """Returns at the first of: news of the job, the time `until`, and a change of the caller's key or groups, found within seconds."""
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(SQLAlchemyError, OSError):  # without the database the rights cannot be read: keep waiting
            if await watch.wait(min(left, RECHECK)) or await keyring.current(viewer) != viewer:
                return


def _reconnect(after: int) -> bytes:
    """Returns the event that asks the client to connect again and to continue after this event number."""
    return format_sse_event(event="reconnect", data_str=f'{{"after": {after}}}', retry=RECONNECT_MS)


def _page(session: Session, job_id: str, viewer: Viewer, after: int) -> tuple[Sequence[JobEvent], bool]:
    """Returns the next events, and whether the job had ended before they were read, so that no more will follow."""
    ended = service.find(session, job_id, viewer).state in FINISHED
    return service.events(session, job_id, viewer, after, PAGE), ended


def _frame(event: JobEvent) -> bytes:
    """Returns an event of the job as a server-sent event."""
    body = EventOut.model_validate(event, from_attributes=True)
    return format_sse_event(id=str(event.seq), event=event.type, data_str=body.model_dump_json())


def _knows(after: int, fingerprint: Fingerprint) -> bool:
    """Returns True when the job has no events after `after`."""
    return fingerprint.event_seq <= after
