"""Caches verified keys for a few seconds, so that polling clients do not cost a query each time.

A key that was revoked or has expired, or with a disabled user, is refused at most `LIFETIME` seconds late. Waiting requests, streams and
downloads call `current` at their start and then at least every `RECHECK` seconds; pages, for each request.
Keys are cached by their SHA-256, never in plain text.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from app.auth import keys
from app.auth.viewer import Viewer
from app.db import AsyncDatabase, asker

LIFETIME = 5.0
RECHECK = 2.0
CAPACITY = 4096
K = TypeVar("K", bytes, str)
Answer = Coroutine[Any, Any, Viewer | None]


class Keyring:
    """The holders of recently used keys, as cached by this process."""

    def __init__(self, database: AsyncDatabase, pepper: str) -> None:
        self._database = database
        self._pepper = pepper
        self._seen: dict[bytes, tuple[float, Viewer]] = {}
        self._asked: dict[bytes, asyncio.Task[Viewer | None]] = {}
        self._current: dict[str, tuple[float, Viewer | None]] = {}
        self._rechecks: dict[str, asyncio.Task[Viewer | None]] = {}

    async def holder(self, text: str) -> Viewer | None:
        """Returns the holder of a key, or None for an invalid key. Checks the checksum before it queries the database."""
        digest = hashlib.sha256(text.encode()).digest()
        until, known = self._seen.get(digest, (0.0, None))
        if until > time.monotonic():
            return known
        if not keys.well_formed(text):
            return None
        return await _shared(self._asked, digest, lambda: self._ask(digest, text))

    async def current(self, viewer: Viewer) -> Viewer | None:
        """Returns the caller with current rights, or None when the key is no longer valid: for answers that come late or take long.

        The answer is at most `RECHECK` seconds old, so a caller that asks every `RECHECK` seconds acts on rights at most twice as old.
        """
        if not viewer.key_id:
            return viewer
        until, known = self._current.get(viewer.key_id, (0.0, None))
        if until > time.monotonic():
            return known
        return await _shared(self._rechecks, viewer.key_id, lambda: self._recheck(viewer.key_id))

    async def _recheck(self, key_id: str) -> Viewer | None:
        asked = time.monotonic()
        known = await self._database.run(keys.holder_of, key_id)
        if len(self._current) >= CAPACITY:
            self._current.clear()
        self._current[key_id] = (asked + RECHECK, known)
        return known

    async def _ask(self, digest: bytes, text: str) -> Viewer | None:
        asked = time.monotonic()
        viewer = await self._database.run(keys.verify, text, self._pepper)
        if viewer is not None:
            if len(self._seen) >= CAPACITY:
                self._seen.clear()
            self._seen[digest] = (asked + LIFETIME, viewer)
        return viewer


async def _shared(running: dict[K, asyncio.Task[Viewer | None]], name: K, ask: Callable[[], Answer]) -> Viewer | None:
    """Returns what `ask` returns or raises its error. Hundreds of requests may ask at once: they share one query, valid key or not, and none
    that is cancelled ends it for the others.
    """
    if name not in running:

        async def once() -> Viewer | None:
            asker.set(None)  # the query serves many requests, so it takes no place among those of one user
            try:
                return await ask()
            finally:
                del running[name]

        running[name] = asyncio.create_task(once())
    return await asyncio.shield(running[name])
