"""Stores objects in a bucket of S3 or a compatible service through obstore, addressed by path and never by host name.

Every request ends within 25 seconds: a collector holds a row lock while it deletes, and its transaction may not idle longer. Large objects
take one request a part.
"""

import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypedDict

import obstore
from obstore import exceptions
from obstore.store import S3Store

from app.storage.base import (
    ObjectCorrupt,
    ObjectMissing,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
    StoredObject,
    check_range,
    digest_of,
    is_key,
)
from app.storage.disposition import attachment
from app.storage.hashing import check_digest, checked_chunks
from app.storage.presign import Credentials, presigned_get

PART = 8 << 20  # bytes of one request of an upload or a read
EMPTY = hashlib.sha256(b"").hexdigest()  # of an object without bytes, which has no range to ask for
_REFUSED = re.compile(r"status code: 40[13]\b")
_FULL = ("507 Insufficient Storage", "QuotaExceeded", "StorageFull")


@dataclass(frozen=True)
class Bucket:
    """A bucket's address. `public_endpoint` is the endpoint as downloaders reach it, if different."""

    name: str
    prefix: str
    endpoint: str
    public_endpoint: str
    region: str
    credentials: Credentials | None


class S3Storage:
    """Storage in an existing bucket. Without credentials, obstore uses the role of the instance, and URLs are not presigned."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        # A provider and not plain options: to those, obstore would add a session token from the environment that belongs to another key.
        access = {"credential_provider": _provider(bucket.credentials)} if bucket.credentials else {}
        self._store = S3Store(
            bucket.name,
            prefix=bucket.prefix or None,
            endpoint=bucket.endpoint,
            region=bucket.region,
            virtual_hosted_style_request=False,
            client_options={"allow_http": bucket.endpoint.startswith("http://"), "connect_timeout": "5s", "timeout": "10s"},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=15)},
            **access,
        )

    def put(self, key: str, data: bytes | Path) -> bool:
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        try:
            if self.head(key).size == size:
                return False
        except ObjectMissing:
            pass
        with self._translated(key):
            if size <= PART:
                obstore.put(self._store, key, b"".join(checked_chunks(key, data, PART)), use_multipart=False)
            else:
                # The digest is checked before the parts become an object: an exception in the iterator aborts the upload.
                obstore.put(
                    self._store, key, checked_chunks(key, data, PART), use_multipart=True, chunk_size=PART, max_concurrency=2
                )
        return True

    def get(self, key: str) -> bytes:
        empty = digest_of(key) == EMPTY
        with self._translated(key):
            first = obstore.get(self._store, key, options={} if empty else {"range": (0, PART)})
            size = first.meta["size"]
            rest = [obstore.get_range(self._store, key, start=at, end=min(at + PART, size)) for at in range(PART, size, PART)]
            data = b"".join([bytes(first.bytes()), *rest])
        check_digest(key, hashlib.sha256(data).hexdigest())
        return data

    def get_range(self, key: str, start: int, end: int) -> bytes:
        check_range(key, start, end, self.head(key).size)
        with self._translated(key):
            return bytes(obstore.get_range(self._store, key, start=start, end=end))

    def head(self, key: str) -> StoredObject:
        digest_of(key)
        with self._translated(key):
            return _described(obstore.head(self._store, key))

    def delete(self, key: str) -> None:
        digest_of(key)
        try:
            with self._translated(key):
                obstore.delete(self._store, key)
        except ObjectMissing:
            pass  # some servers report a missing object, S3 itself does not

    def list(self, prefix: str = "sha256/") -> Iterator[StoredObject]:
        with self._translated(prefix):
            for batch in obstore.list(self._store, prefix="sha256"):
                yield from (_described(meta) for meta in batch if meta["path"].startswith(prefix) and is_key(meta["path"]))

    def sweep(self, older_than_seconds: float) -> int:
        """Does nothing and returns 0: unfinished uploads are not objects; a lifecycle rule of the bucket removes them."""
        return 0

    def check(self) -> None:
        """Checks that the bucket answers; whether it has space shows only when an object is put."""
        with self._translated(self.bucket.name):
            next(iter(obstore.list(self._store, prefix="sha256", chunk_size=1)), None)

    def presign(self, key: str, filename: str, media_type: str, seconds: int) -> str | None:
        digest_of(key)
        if self.bucket.credentials is None:
            return None
        path = "/".join(part for part in (self.bucket.name, self.bucket.prefix, key) if part)
        return presigned_get(
            f"{self.bucket.public_endpoint}/{path}",
            self.bucket.credentials,
            region=self.bucket.region,
            seconds=seconds,
            now=datetime.now(UTC),
            response_headers={"response-content-disposition": attachment(filename), "response-content-type": media_type},
        )

    async def astream(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        digest_of(key)
        with self._translated(key):
            check_range(key, start, end, (await obstore.head_async(self._store, key))["size"])
            # One request per part: with one request for all, a slow reader would exceed the request's timeout.
            for at in range(start, end, PART):
                part = bytes(await obstore.get_range_async(self._store, key, start=at, end=min(at + PART, end)))
                if len(part) != min(PART, end - at):
                    raise ObjectCorrupt(f"{key}: the bucket sent {len(part)} bytes from {at} on, fewer than it has")
                yield part

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Returns a context that turns obstore's errors into this package's errors, with the first line of their text (without credentials)."""
        try:
            yield
        except (OSError, exceptions.BaseError) as error:
            raise self._as_storage_error(what, error) from error

    def _as_storage_error(self, what: str, error: Exception) -> StorageError:
        bucket = self.bucket
        said, first_line = str(error), str(error).partition("\n")[0]
        if "NoSuchBucket" in said:
            return StorageDenied(f"There is no bucket {bucket.name} at {bucket.endpoint}; make it or correct STORAGE_URL")
        if isinstance(error, FileNotFoundError):
            return ObjectMissing(f"{what} is not in bucket {bucket.name}")
        if _REFUSED.search(said):  # by HTTP status: obstore has an error type for it, but not for refused listings
            return StorageDenied(f"{what}: {first_line}. Check the key and its rights on bucket {bucket.name}")
        if any(sign in said for sign in _FULL):
            return StorageFull(f"storage_full: {what}: bucket {bucket.name} takes no more; free space or raise its quota")
        return StorageUnavailable(f"{what}: {first_line}")


def _provider(credentials: Credentials) -> Callable[[], dict[str, str | None]]:
    given: dict[str, str | None] = {
        "access_key_id": credentials.key_id,
        "secret_access_key": credentials.secret,
        "token": credentials.token,
        "expires_at": None,
    }
    return lambda: given


class _Meta(TypedDict):
    """What obstore says of an object."""

    path: str
    size: int
    last_modified: datetime


def _described(meta: _Meta) -> StoredObject:
    age = datetime.now(UTC) - meta["last_modified"]
    return StoredObject(meta["path"], meta["size"], age.total_seconds())
