"""Staging from the API's event loop: the transaction on its own engine, the bytes written by a thread."""

import asyncio

from app.db import AsyncDatabase
from app.storage.base import Storage, key_of
from app.storage.blobs import Blob, announce
from app.storage.hashing import measure


async def stage_async(database: AsyncDatabase, storage: Storage, data: bytes) -> Blob:
    """What `app.storage.blobs.stage` does, without holding up other requests."""
    digest, size = await asyncio.to_thread(measure, data)
    staged_at = await database.run(announce, digest, size)
    await asyncio.to_thread(storage.put, key_of(digest), data)
    return Blob(digest, size, staged_at)
