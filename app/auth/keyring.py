"""Keys verified in the last seconds, so that a client that polls does not cost a query for its key each time.

A revoked or expired key is refused at most `LIFETIME` seconds late. Keys are remembered by their SHA-256, never as they are.
"""

import asyncio
import hashlib
import time

from app.auth import keys
from app.auth.viewer import Viewer
from app.db import AsyncDatabase

LIFETIME = 5.0
CAPACITY = 4096


class Keyring:
    """Who holds which key, as far as this process saw lately."""

    def __init__(self, database: AsyncDatabase, pepper: str) -> None:
        self._database = database
        self._pepper = pepper
        self._seen: dict[bytes, tuple[float, Viewer]] = {}
        self._asked: dict[bytes, asyncio.Lock] = {}

    async def holder(self, text: str) -> Viewer | None:
        """The holder of a key, or None for one that is not valid. The checksum is looked at before the database is."""
        if not keys.well_formed(text):
            return None
        digest = hashlib.sha256(text.encode()).digest()
        lock = self._asked.setdefault(digest, asyncio.Lock())
        try:
            return self._known(digest) or await self._ask(digest, text, lock)
        finally:
            if not lock.locked():
                self._asked.pop(digest, None)

    def _known(self, digest: bytes) -> Viewer | None:
        until, viewer = self._seen.get(digest, (0.0, None))
        return viewer if until > time.monotonic() else None

    async def _ask(self, digest: bytes, text: str, lock: asyncio.Lock) -> Viewer | None:
        """Asks the database; requests that come with the same key meanwhile wait for its answer instead of asking too."""
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
