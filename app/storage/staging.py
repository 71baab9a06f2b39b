"""Stores uploaded bytes from the API's event loop, and removes them again if no row refers to them in the end."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple, Unpack

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import AsyncDatabase
from app.storage.base import Storage, StorageError, key_of
from app.storage.blobs import Blob, BlobGone, announce, delete_unreferenced
from app.storage.hashing import measure

log = structlog.get_logger()

T = TypeVar("T")
Args = TypeVarTuple("Args")
TRIES = 3
"""Attempts to store the bytes, if they are removed again before the reference to them is added."""


class Thread(Protocol):
    """The type of a function that runs blocking work in a thread; the API passes `app.http.uploading.Uploads.thread`."""

    async def __call__(self, work: Callable[[Unpack[Args]], T], /, *args: *Args) -> T: ...


async def store(database: AsyncDatabase, storage: Storage, data: bytes, add: Callable[[Session, Blob], T], thread: Thread) -> T:
    """Stores the bytes and runs `add(session, blob)`, the transaction that adds the reference; if that fails, removes the bytes.

    Continues to the end even when the client disconnects, so that partly stored bytes are either kept or removed.
    """
    work = asyncio.ensure_future(_store(database, storage, data, add, thread))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # marks the exception as retrieved, so that asyncio does not log it
        raise


async def _store(database: AsyncDatabase, storage: Storage, data: bytes, add: Callable[[Session, Blob], T], thread: Thread) -> T:
    """Does the work of `store`, which runs to its end."""
    digest, size = await thread(measure, data)
    for left in reversed(range(TRIES)):
        blob = Blob(digest, size, await database.run(announce, digest, size))
        try:
            await thread(storage.put, key_of(digest), data)
            return await database.run(add, blob)
        except BlobGone:  # a failed upload of equal bytes removed the object, or half a day passed: store again
            if not left:
                raise
        except BaseException:
            try:
                await discard(database, storage, blob, thread)
            except (SQLAlchemyError, StorageError, OSError) as error:  # the collector removes the object within a day
                log.warning("upload_not_removed", error=type(error).__name__)
            raise
    raise AssertionError


async def discard(database: AsyncDatabase, storage: Storage, blob: Blob, thread: Thread) -> None:
    """Removes the stored bytes, unless a row refers to them or a later upload of equal bytes has begun, which then decides about them."""
    async with database.begin() as session:
        if await session.run_sync(delete_unreferenced, blob):
            await thread(storage.delete, key_of(blob.digest))
