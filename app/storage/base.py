"""The interface of every object store. Only the server creates keys (`sha256/<digest>`); users' text never becomes a key."""

import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK = 1 << 20  # bytes read or sent at a time, unless a store sets another size
_KEY = re.compile(r"sha256/([0-9a-f]{64})")


class StorageError(Exception):
    """An error of the object store; the base of all errors here."""


class ObjectMissing(StorageError):
    """No object is stored under this key."""


class ObjectCorrupt(StorageError):
    """The bytes do not have the digest in their key: a file changed while it was stored, or the stored object is damaged."""


class StorageUnavailable(StorageError):
    """The store failed to answer; the same call may succeed later."""


class StorageFull(StorageError):
    """The store is full; the same call succeeds after space has been freed."""


class StorageDenied(StorageError):
    """The store denies access (rights, credentials, bucket): retrying does not help, an administrator must act."""


@dataclass(frozen=True)
class StoredObject:
    """An object as `list` or `head` returns it."""

    key: str
    size: int
    age_seconds: float


class Storage(Protocol):
    """A flat store of immutable objects, each named by the SHA-256 of its bytes.

    Every method raises ValueError for a malformed key, and StorageUnavailable or StorageDenied when the store fails.
    The plain methods block and are for workers; the API's event loop uses `astream` and `presign`, which do not block.
    """

    def put(self, key: str, data: bytes | Path) -> bool:
        """Stores an object; on return it is complete and durable. Returns False when the object was already stored.

        An object of the same size under the key counts as stored: reading it would cost each repeated put as much as storing it. So neither
        its bytes nor the given ones are checked then, and a damaged object, for which `get` raises ObjectCorrupt, stays until it is deleted.

        Readers see the whole object or nothing. Raises ObjectCorrupt when bytes to be stored do not have the key's digest (nothing is stored
        then), and StorageFull.
        """

    def get(self, key: str) -> bytes:
        """Returns the whole object after checking its digest. Raises ObjectMissing, ObjectCorrupt."""

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Returns bytes `start` up to, but excluding, `end`. Raises ObjectMissing, and ValueError unless 0 <= start < end <= size."""

    def head(self, key: str) -> StoredObject:
        """Returns the object's size and age. Raises ObjectMissing."""

    def delete(self, key: str) -> None:
        """Deletes the object; on return it is gone. Deleting a missing object is not an error."""

    def list(self, prefix: str = "sha256/") -> Iterator[StoredObject]:
        """Yields every object with a key that starts with `prefix`, in any order. Objects added or deleted meanwhile may be missed."""

    def sweep(self, older_than_seconds: float) -> int:
        """Removes the remains of puts that were interrupted more than this long ago; returns their number."""

    def check(self) -> None:
        """Readiness check: returns if the store answers and would accept an object now."""

    def presign(self, key: str, filename: str, media_type: str, seconds: int) -> str | None:
        """Returns a URL that lets anyone download the object under `filename` for `seconds`; None if the store does not support URLs."""

    def astream(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yields bytes `start` up to `end` in pieces of a few MiB, read only as fast as they are consumed. Raises the errors of `get_range`."""


def key_of(digest: str) -> str:
    """Returns the key of the object with this SHA-256 (64 lower-case hexadecimal digits). Raises ValueError for any other text."""
    key = f"sha256/{digest}"
    digest_of(key)
    return key


def digest_of(key: str) -> str:
    """Returns the digest in a key. Raises ValueError for any malformed key, including path traversal."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"storage key {key!r} is not sha256/ and 64 lower-case hexadecimal digits")
    return match[1]


def is_key(name: str) -> bool:
    """Returns whether this is the key of an object; a store may hold foreign files (`.nfs*`, the remains of a copy)."""
    return _KEY.fullmatch(name) is not None


def check_range(key: str, start: int, end: int, size: int) -> None:
    """Raises ValueError unless 0 <= start < end <= size."""
    if not 0 <= start < end <= size:
        raise ValueError(f"bytes {start} to {end} do not lie within the {size} bytes of {key}")
