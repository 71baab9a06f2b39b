"""Limits the resources of uploads: places per user, separate threads, and refusal when space is short.

Refuses an upload before reading its body when the disk is full, the user's quota is used up or too many uploads run at once. Independent of
the domains.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple, Unpack

from sqlalchemy.orm import Session
from starlette.requests import Request

from app.db import AsyncDatabase
from app.http.gate import body_limit
from app.places import Bounds, Places
from app.settings import Settings
from app.storage.space import check_room

T = TypeVar("T")
Args = TypeVarTuple("Args")

THREADS = 2
"""Uploads that are read, checked or stored at the same time; further uploads of all users wait with their bytes in memory."""
USERS = 4
"""Number of users that can use their full share at once."""
WAITING = 16
"""Most waiting uploads of one user; their bodies are not read yet."""


class Uploads:
    """The uploads of one application. `check_quota(session, owner)` raises Problem when the quota of the user is used up."""

    def __init__(self, settings: Settings, database: AsyncDatabase, check_quota: Callable[[Session, str], None]) -> None:
        limit = settings.limit
        self._settings = settings
        self._database = database
        self._check_quota = check_quota
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="upload")
        bounds = Bounds(
            most=USERS * limit.uploads,
            each=limit.uploads,
            waiting=WAITING,
            patience=limit.turn_seconds,
            most_bytes=USERS * limit.uploads_bytes,
            each_bytes=limit.uploads_bytes,
        )
        self._places = Places("uploads", bounds)

    @asynccontextmanager
    async def place(self, request: Request, owner: str) -> AsyncIterator[None]:
        """Holds the user's place while the upload is read and stored.

        Raises Problem 507 `low_disk`, 429 `quota_stored_bytes` when the quota is used up, 429 `too_many_at_once`.
        """
        size = _size(request, self._settings)
        await asyncio.to_thread(check_room, self._settings, size)
        await self._database.run(self._check_quota, owner)
        async with self._places.place(owner, size):
            yield

    async def thread(self, work: Callable[[Unpack[Args]], T], *args: *Args) -> T:
        """Runs `work(*args)` in an upload thread. When this task is cancelled, it ends only after running work has ended."""
        queued = self._threads.submit(work, *args)
        done = asyncio.wrap_future(queued)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            if not queued.cancel():
                await asyncio.wait({done})
                done.exception()
            raise

    def close(self) -> None:
        """Waits for running work and cancels queued work."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def _size(request: Request, settings: Settings) -> int:
    """Returns the bytes of the body as declared, or the limit if none are declared."""
    limit = body_limit(request.headers, settings.limit)
    stated = request.headers.get("content-length", "")
    return min(int(stated), limit) if stated.isascii() and stated.isdigit() else limit
