"""Stores objects as files in one local folder. `put` is durable: it writes a staged file, fsyncs it, renames it and fsyncs the folder.

The module calls the operating system directly. obstore's LocalStore does not fsync, reports a full disk only in an error message, and
creates folders that all users can read.
"""

import asyncio
import errno
import hashlib
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar, TypeVarTuple, Unpack

from app.storage.base import (
    CHUNK,
    ObjectCorrupt,
    ObjectMissing,
    StorageDenied,
    StorageFull,
    StorageUnavailable,
    StoredObject,
    check_range,
    digest_of,
    is_key,
)
from app.storage.hashing import check_digest, checked_chunks

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


READERS = 8
"""Most threads that read chunks for downloads; a thread starts when it is first needed."""
T = TypeVar("T")
Args = TypeVarTuple("Args")


class LocalStorage:
    """Storage in `root`: objects in `root/sha256`, unfinished writes in `root/staging`; both only for the service's own user."""

    def __init__(self, root: Path) -> None:
        """Creates missing folders. Raises StorageDenied when the service's user may not create them."""
        self.root = root
        self._objects = root / "sha256"
        self._staging = root / "staging"
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="download")
        with self._translated(str(root)):
            for folder in (root, self._objects, self._staging):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(root)

    def put(self, key: str, data: bytes | Path) -> bool:
        target = self._path(key)
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        with self._translated(key):
            if target.is_file() and target.stat().st_size == size:
                # The writer of the file may not have fsynced the folder yet, and our caller will refer to the file at once.
                _sync_folder(self._objects)
                return False
            staged = self._staging / uuid.uuid4().hex
            try:
                _write_durably(staged, checked_chunks(key, data, CHUNK))
                staged.replace(target)
            finally:
                staged.unlink(missing_ok=True)
            _sync_folder(self._objects)
        return True

    def get(self, key: str) -> bytes:
        with self._translated(key):
            data = self._path(key).read_bytes()
        check_digest(key, hashlib.sha256(data).hexdigest())
        return data

    def get_range(self, key: str, start: int, end: int) -> bytes:
        check_range(key, start, end, self.head(key).size)
        with self._translated(key), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def head(self, key: str) -> StoredObject:
        with self._translated(key):
            return _described(key, self._path(key).stat())

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._path(key).unlink(missing_ok=True)
            _sync_folder(self._objects)

    def list(self, prefix: str = "sha256/") -> Iterator[StoredObject]:
        with self._translated(prefix), os.scandir(self._objects) as entries:
            for entry in entries:
                key = f"sha256/{entry.name}"
                if not (key.startswith(prefix) and is_key(key)):
                    continue
                try:
                    yield _described(key, entry.stat())
                except FileNotFoundError:
                    continue  # deleted since the folder was read

    def sweep(self, older_than_seconds: float) -> int:
        removed = 0
        with self._translated(str(self._staging)):
            for path in self._staging.iterdir():
                try:
                    if time.time() - path.stat().st_mtime > older_than_seconds:
                        path.unlink()
                        removed += 1
                except FileNotFoundError:
                    continue  # its put has just renamed or removed it
        return removed

    def check(self) -> None:
        probe = self._staging / uuid.uuid4().hex
        with self._translated(str(self.root)):
            try:
                probe.write_bytes(b"ready")
            finally:
                probe.unlink(missing_ok=True)
            _sync_folder(self._objects)

    def presign(self, key: str, filename: str, media_type: str, seconds: int) -> str | None:
        return None

    async def astream(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        size = (await self._reading(self.head, key)).size
        check_range(key, start, end, size)
        with self._translated(key):
            file: BinaryIO = await self._reading(lambda: self._path(key).open("rb"))
            try:
                file.seek(start)
                while start < end:
                    chunk = await self._reading(file.read, min(CHUNK, end - start))
                    if not chunk:
                        raise ObjectCorrupt(f"{key}: its file was cut to {start} bytes while it was read")
                    start += len(chunk)
                    yield chunk
            finally:
                file.close()

    async def _reading(self, work: Callable[[Unpack[Args]], T], *args: *Args) -> T:
        """Runs `work(*args)` in a thread that is reserved for downloads and returns its result."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, partial(work, *args))

    def _path(self, key: str) -> Path:
        return self._objects / digest_of(key)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Turns operating-system errors into this package's errors, by errno; `what` names the object in the message."""
        try:
            yield
        except FileNotFoundError as error:
            if self._objects.is_dir() and self._staging.is_dir():
                raise ObjectMissing(f"{what} is not in {self.root}") from error
            raise StorageUnavailable(f"{self.root} is missing: is the disk that STORAGE_URL names mounted?") from error
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFull(
                    f"storage_full: {what}: {error.strerror}. Free space or raise the quota of {self.root}"
                ) from error
            if error.errno in _DENIED:
                raise StorageDenied(f"{what}: {error.strerror}. The service's user must own {self.root}") from error
            raise StorageUnavailable(f"{what}: {error.strerror or error}") from error


def _write_durably(path: Path, content: Iterator[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in content:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _described(key: str, stat: os.stat_result) -> StoredObject:
    return StoredObject(key, stat.st_size, time.time() - stat.st_mtime)
