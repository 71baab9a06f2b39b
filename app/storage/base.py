"""What every object store promises. Keys are made by the server alone (`sha256/<digest>`); no user's text ever becomes one."""

import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK = 1 << 20  # bytes read or sent at a time where a store sets no other size
_KEY = re.compile(r"sha256/([0-9a-f]{64})")


class StorageError(Exception):
    """Anything that went wrong between us and the bytes."""


class ObjectMissing(StorageError):
    """There is no object under this key."""


class ObjectCorrupt(StorageError):
    """The bytes do not have the digest their key states: a file changed while it was stored, or what lies there is damaged."""


class StorageUnavailable(StorageError):
    """The store did not answer as it should; the same call may succeed later."""


class StorageFull(StorageError):
    """No room is left; the same call succeeds once somebody makes room."""


class StorageDenied(StorageError):
    """The store refuses us (rights, credentials, bucket): no retry helps, an administrator must act."""


@dataclass(frozen=True)
class StoredObject:
    """One object as a listing or `head` shows it."""

    key: str
    size: int
    age_seconds: float


class Storage(Protocol):
    """A flat store of immutable objects, each named by the SHA-256 of its bytes.

    Every method raises ValueError for a key the server would not make, and StorageUnavailable or StorageDenied as those say.
    The plain methods block and are for workers; the API's event loop uses `astream` and `presign`, which do not.
    """

    def put(self, key: str, data: bytes | Path) -> bool:
        """Once this returns, the bytes are there, whole and durable; False when they already were.

        Readers see all of the object or none of it. Raises ObjectCorrupt when the bytes do not have the key's digest (nothing is
        stored then) and StorageFull.
        """

    def get(self, key: str) -> bytes:
        """The whole object, its digest checked. Raises ObjectMissing, ObjectCorrupt."""

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` up to, not including, `end`. Raises ObjectMissing, and ValueError unless 0 <= start < end <= size."""

    def head(self, key: str) -> StoredObject:
        """Size and age. Raises ObjectMissing."""

    def delete(self, key: str) -> None:
        """Once this returns, the object is gone; deleting what is not there is no error."""

    def list(self, prefix: str = "sha256/") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in no stated order. Objects that come or go meanwhile may be missed."""

    def sweep(self, older_than_seconds: float) -> int:
        """Removes what puts that were interrupted longer ago than this have left, and says how many."""

    def check(self) -> None:
        """Returns when the store answers and would take an object now: the readiness check."""

    def presign(self, key: str, filename: str, media_type: str, seconds: int) -> str | None:
        """A URL at which anybody may read the object for `seconds` as an attachment of that name; None if it has no such URLs."""

    def astream(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Bytes `start` up to `end` in pieces of a few MiB, read no faster than they are taken. Raises what `get_range` does."""


def key_of(digest: str) -> str:
    """The key of the object with this SHA-256 (64 lower-case hexadecimal digits). Raises ValueError for anything else."""
    key = f"sha256/{digest}"
    digest_of(key)
    return key


def digest_of(key: str) -> str:
    """The digest a key names. Raises ValueError for any key the server would not make, a traversal among them."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"storage key {key!r} is not sha256/ and 64 lower-case hexadecimal digits")
    return match[1]


def check_range(key: str, start: int, end: int, size: int) -> None:
    """Raises ValueError unless 0 <= start < end <= size."""
    if not 0 <= start < end <= size:
        raise ValueError(f"bytes {start} to {end} do not lie within the {size} bytes of {key}")
