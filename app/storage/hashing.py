"""Computes SHA-256 of bytes and files in bounded memory, and checks content against its key."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from app.storage.base import CHUNK, ObjectCorrupt, Storage, digest_of

PIECE = 8 << 20
"""Bytes of an object that are read at once."""


def measure(data: bytes | Path) -> tuple[str, int]:
    """Returns the digest (hexadecimal) and the size in bytes."""
    sha, size = hashlib.sha256(), 0
    for chunk in chunks(data, CHUNK):
        sha.update(chunk)
        size += len(chunk)
    return sha.hexdigest(), size


def chunks(data: bytes | Path, chunk_size: int) -> Iterator[bytes]:
    """Yields the content in pieces of `chunk_size` bytes, the last one shorter; yields nothing for empty content."""
    if isinstance(data, bytes):
        for at in range(0, len(data), chunk_size):
            yield data[at : at + chunk_size]
        return
    with data.open("rb") as file:
        while chunk := file.read(chunk_size):
            yield chunk


def checked_chunks(key: str, data: bytes | Path, chunk_size: int) -> Iterator[bytes]:
    """Yields the pieces of `chunks`; after the last piece, raises ObjectCorrupt if the content does not match the key.

    This checks exactly the bytes that are stored: a file may change after it was hashed.
    """
    sha = hashlib.sha256()
    for chunk in chunks(data, chunk_size):
        sha.update(chunk)
        yield chunk
    check_digest(key, sha.hexdigest())


def checked_pieces(storage: Storage, key: str) -> Iterator[bytes]:
    """Yields a stored object in pieces of at most 8 MiB, so that memory does not grow with it.

    Raises ObjectMissing, and after the last piece ObjectCorrupt if the object does not match the key.
    """
    size, sha = storage.head(key).size, hashlib.sha256()
    for start in range(0, size, PIECE):
        piece = storage.get_range(key, start, min(start + PIECE, size))
        sha.update(piece)
        yield piece
    check_digest(key, sha.hexdigest())


def check_digest(key: str, digest: str) -> None:
    """Raises ObjectCorrupt unless `digest` is the digest `key` names."""
    if digest != digest_of(key):
        raise ObjectCorrupt(
            f"{key}: the bytes have SHA-256 {digest}; the file changed while it was stored, or the object is damaged"
        )
