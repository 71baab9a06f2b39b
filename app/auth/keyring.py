"""Caches verified keys for a few seconds, so that polling clients do not cost a query each time.

A key that was revoked or has expired, or with a disabled user, is refused at most `LIFETIME` seconds late. Waiting requests, streams and
downloads call `current` at their start and then at least every `RECHECK` seconds; its answer is at most `RECHECK` seconds old.
Keys are cached by their SHA-256, never in plain text.
"""

import asyncio
import hashlib
import time

from app.auth import keys
from app.auth.viewer import Viewer
from app.db import AsyncDatabase, asker

LIFETIME = 5.0
RECHECK = 2.0
CAPACITY = 4096


class Keyring:
    """The holders of recently used keys, as cached by this process."""

    def __init__(self, database: AsyncDatabase, pepper: str) -> None:
        self._database = database
        self._pepper = pepper
        self._seen: dict[bytes, tuple[float, Viewer]] = {}
        self._asked: dict[bytes, asyncio.Lock] = {}
        self._current: dict[str, tuple[float, Viewer | None]] = {}
        self._rechecks: dict[str, asyncio.Task[Viewer | None]] = {}

    async def holder(self, text: str) -> Viewer | None:
        """Returns the holder of a key, or None for an invalid key. Checks the checksum before it queries the database."""
        if not keys.well_formed(text):
            return None
        digest = hashlib.sha256(text.encode()).digest()
        lock = self._asked.setdefault(digest, asyncio.Lock())
        try:
            return self._known(digest) or await self._ask(digest, text, lock)
        finally:
            if not lock.locked():
                self._asked.pop(digest, None)

    async def current(self, viewer: Viewer) -> Viewer | None:
        """Returns the caller with current rights, or None when the key is no longer valid: for answers that come late or take long.

        If called every `RECHECK` seconds, the answer is never older than `LIFETIME`.
        """
        if not viewer.key_id:
            return viewer
        until, known = self._current.get(viewer.key_id, (0.0, None))
        if until > time.monotonic():
            return known
        if viewer.key_id not in self._rechecks:  # hundreds of requests may wake at once: they share one query
            self._rechecks[viewer.key_id] = asyncio.create_task(self._recheck(viewer.key_id))
        return await asyncio.shield(self._rechecks[viewer.key_id])

    async def _recheck(self, key_id: str) -> Viewer | None:
        asker.set(None)
        try:
            asked = time.monotonic()
            known = await self._database.run(keys.holder_of, key_id)
            if len(self._current) >= CAPACITY:
                self._current.clear()
            self._current[key_id] = (asked + RECHECK, known)
            return known
        finally:
            del self._rechecks[key_id]

    def _known(self, digest: bytes) -> Viewer | None:
        until, viewer = self._seen.get(digest, (0.0, None))
        return viewer if until > time.monotonic() else None

    async def _ask(self, digest: bytes, text: str, lock: asyncio.Lock) -> Viewer | None:
        """Queries the database; concurrent requests with the same key wait for the result and do not query again."""
        async with lock:
            viewer = self._known(digest)
            if viewer is not None:
                return viewer
            asked = time.monotonic()
            viewer = await self._database.run(keys.verify, text, self._pepper)
            if viewer is not None:
                if len(self._seen) >= CAPACITY:
                    self._seen.clear()
                self._seen[digest] = (asked + LIFETIME, viewer)
            return viewer
