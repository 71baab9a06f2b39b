"""Keys verified in the last seconds, so that a client that polls does not cost a query for its key each time.

A revoked or expired key is refused at most `LIFETIME` seconds late. Keys are remembered by their SHA-256, never as they are.
"""

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

    async def holder(self, text: str) -> Viewer | None:
        """The holder of a key, or None for one that is not valid. The checksum is looked at before the database is."""
        if not keys.well_formed(text):
            return None
        digest = hashlib.sha256(text.encode()).digest()
        known = self._seen.get(digest)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        viewer = await self._database.run(keys.verify, text, self._pepper)
        if viewer is None:
            self._seen.pop(digest, None)
            return None
        if len(self._seen) >= CAPACITY:
            self._seen.clear()
        self._seen[digest] = (time.monotonic() + LIFETIME, viewer)
        return viewer
