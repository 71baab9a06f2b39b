"""Reads the stored JSON of a result for a page: one file at a time, up to a size limit, parsed outside the event loop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from app.http.context import Context
from app.jobs.schemas import JobOut
from app.storage.base import key_of

T = TypeVar("T")
LARGEST = 16_000_000


@dataclass(frozen=True)
class File:
    """A file of a job's result: its SHA-256 and size in bytes."""

    digest: str
    size: int


def file_of(job: JobOut, name: str) -> File | None:
    """Returns the job's file with this name, or None if it does not exist any longer."""
    return next((File(artifact.sha256, artifact.size) for artifact in job.artifacts if artifact.name == name), None)


async def document(context: Context, job: JobOut, name: str, read: Callable[[bytes], T]) -> T | None:
    """Returns the content of a file of the job; `read` is its reader in terms.documents.reading.

    None if the job does not have the file, if it was removed, or if it is too large to draw.
    """
    file = file_of(job, name)
    if file is None or file.size > LARGEST:
        return None
    data = await content(context, file.digest, file.size)
    return await asyncio.to_thread(read, data)


async def content(context: Context, digest: str, size: int) -> bytes:
    """Returns the bytes of a stored object."""
    return b"".join([piece async for piece in context.storage.astream(key_of(digest), 0, size)]) if size else b""
