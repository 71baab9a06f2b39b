"""Both kinds of storage keep the promises of `app/storage/base.py`."""

import asyncio
import hashlib
import random
import re
import threading
from pathlib import Path

import obstore
import pytest

from app.storage.base import ObjectCorrupt, ObjectMissing, Storage
from app.storage.factory import open_storage
from app.storage.local import LocalStorage
from app.storage.s3 import S3Storage
from tests.client.wire import Wire

BIG = random.Random(20).randbytes(20_000_003)  # three parts of an upload, the last one odd
WRONG_KEYS = [
    "sha256/../../etc/passwd",
    "../sha256/" + "a" * 64,
    "sha256/" + "A" * 64,
    "sha256/" + "a" * 63,
    "sha256/" + "a" * 64 + "\n",
    "sha256/" + "a" * 64 + "/b",
    "/etc/passwd",
    "",
]


def key_for(data: bytes) -> str:
    """The key of an object with these bytes."""
    return "sha256/" + hashlib.sha256(data).hexdigest()


async def collect(storage: Storage, key: str, start: int, end: int) -> list[bytes]:
    """The pieces in which the store streams this range of the object."""
    return [piece async for piece in storage.astream(key, start, end)]


@pytest.mark.parametrize("data", [b"", b"x", b"\x00\r\n" * 1000], ids=["empty", "one byte", "binary"])
def test_get_returns_the_bytes_of_put(storage: Storage, data: bytes):
    assert storage.put(key_for(data), data) is True
    assert storage.get(key_for(data)) == data
    assert storage.head(key_for(data)).size == len(data)


def test_a_second_put_changes_nothing_and_returns_false(storage: Storage):
    key = key_for(b"once")
    assert storage.put(key, b"once") is True
    assert storage.put(key, b"once") is False
    assert storage.get(key) == b"once"
    assert [found.key for found in storage.list()] == [key]


def test_concurrent_puts_of_one_object_all_succeed(storage: Storage):
    data, key, failures = BIG[:3_000_000], key_for(BIG[:3_000_000]), []

    def put() -> None:
        try:
            storage.put(key, data)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=put) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert storage.get(key) == data
    assert len(list(storage.list())) == 1


def test_an_incomplete_object_is_put_again(storage: Storage, monkeypatch: pytest.MonkeyPatch):
    """A put may be skipped only if the stored object is complete."""
    key = key_for(b"whole object")
    with monkeypatch.context() as patched:
        for module in ("local", "s3"):
            patched.setattr(f"app.storage.{module}.checked_chunks", lambda *_: iter([b"whole "]))
        storage.put(key, b"whole object")
    assert storage.head(key).size == 6
    assert storage.put(key, b"whole object") is True
    assert storage.get(key) == b"whole object"


@pytest.mark.parametrize("as_file", [True, False], ids=["from a file", "from memory"])
def test_a_big_object_keeps_every_byte(storage: Storage, tmp_path: Path, as_file: bool):
    source = tmp_path / "big.bin"
    source.write_bytes(BIG)
    storage.put(key_for(BIG), source if as_file else BIG)
    assert storage.get(key_for(BIG)) == BIG
    pieces = asyncio.run(collect(storage, key_for(BIG), 0, len(BIG)))
    assert b"".join(pieces) == BIG
    assert max(map(len, pieces)) <= 8 << 20


def test_a_big_object_is_read_from_a_bucket_in_parts(s3_endpoint: str, bucket_url: str) -> None:
    """One request has ten seconds, too few for a large object over a slow line."""
    wire = Wire(s3_endpoint)
    try:
        storage = open_storage(bucket_url.replace(s3_endpoint, wire.url))
        storage.put(key_for(BIG), BIG)
        assert storage.get(key_for(BIG)) == BIG
    finally:
        wire.close()
    said = b"".join(connection.said for connection in wire.connections)
    ranges = [(int(first), int(last)) for first, last in re.findall(rb"(?i)range: bytes=(\d+)-(\d+)", said)]
    assert sum(last - first + 1 for first, last in ranges) == len(BIG)
    assert max(last - first + 1 for first, last in ranges) <= 8 << 20


@pytest.mark.parametrize("size", [0, 1, 5, 10, 11], ids=lambda size: f"{size} bytes")
def test_objects_of_every_number_of_parts_are_read_whole(s3: Storage, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    data = bytes(range(size))
    s3.put(key_for(data), data)
    monkeypatch.setattr("app.storage.s3.PART", 5)
    assert s3.get(key_for(data)) == data


def test_a_range_is_the_slice(storage: Storage):
    data = BIG[:10_000_000]
    key = key_for(data)
    storage.put(key, data)
    for start, end in [(0, 1), (0, 10_000_000), (9_999_999, 10_000_000), (8_388_607, 8_388_609), (5, 9_000_000)]:
        assert storage.get_range(key, start, end) == data[start:end]
        assert b"".join(asyncio.run(collect(storage, key, start, end))) == data[start:end]


@pytest.mark.parametrize(("start", "end"), [(0, 5), (4, 5), (9, 10), (2, 2), (3, 2), (-1, 2)])
def test_a_range_outside_the_object_is_refused(storage: Storage, start: int, end: int):
    key = key_for(b"four")
    storage.put(key, b"four")
    with pytest.raises(ValueError, match="do not lie within the 4 bytes"):
        storage.get_range(key, start, end)
    with pytest.raises(ValueError, match="do not lie within the 4 bytes"):
        asyncio.run(collect(storage, key, start, end))


def test_an_absent_object_raises_object_missing(storage: Storage):
    key = key_for(b"never put")
    for look in (
        storage.get,
        storage.head,
        lambda k: storage.get_range(k, 0, 1),
        lambda k: asyncio.run(collect(storage, k, 0, 1)),
    ):
        with pytest.raises(ObjectMissing):
            look(key)


def test_deleting_removes_the_object_and_may_be_repeated(storage: Storage):
    kept, gone = key_for(b"kept"), key_for(b"gone")
    storage.put(kept, b"kept")
    storage.put(gone, b"gone")
    storage.delete(gone)
    storage.delete(gone)
    with pytest.raises(ObjectMissing):
        storage.get(gone)
    assert storage.get(kept) == b"kept"


@pytest.mark.parametrize("key", WRONG_KEYS)
def test_a_malformed_key_is_refused(storage: Storage, key: str):
    for call in (
        storage.get,
        storage.head,
        storage.delete,
        lambda k: storage.put(k, b"x"),
        lambda k: storage.get_range(k, 0, 1),
        lambda k: storage.presign(k, "a", "b", 1) or storage.head(k),  # a folder presigns nothing
        lambda k: asyncio.run(collect(storage, k, 0, 1)),
    ):
        with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
            call(key)
    assert list(storage.list()) == []


def test_bytes_with_another_digest_than_the_key_are_not_stored(storage: Storage, tmp_path: Path):
    big = tmp_path / "changed.bin"
    big.write_bytes(BIG[:-1] + b"!")
    for key, data in [(key_for(b"right"), b"wrong"), (key_for(BIG), big)]:
        with pytest.raises(ObjectCorrupt, match="SHA-256"):
            storage.put(key, data)
        with pytest.raises(ObjectMissing):
            storage.head(key)
    assert list(storage.list()) == []


def test_a_damaged_object_is_noticed_when_it_is_read(storage: Storage, monkeypatch: pytest.MonkeyPatch):
    key = key_for(b"sound")
    with monkeypatch.context() as patched:
        for module in ("local", "s3"):
            patched.setattr(f"app.storage.{module}.checked_chunks", lambda *_: iter([b"sOund"]))
        storage.put(key, b"sound")
    with pytest.raises(ObjectCorrupt):
        storage.get(key)


def test_a_listing_leaves_out_foreign_files(storage: Storage):
    """Files that an interrupted copy or another program left."""
    if isinstance(storage, LocalStorage):
        (storage.root / "sha256" / ".nfs0000000001").write_bytes(b"x")
    else:
        assert isinstance(storage, S3Storage)
        obstore.put(storage._store, "sha256/.DS_Store", b"x")
    assert list(storage.list()) == []


def test_a_listing_has_key_size_and_age(storage: Storage):
    objects = {key_for(bytes([n]) * n): n for n in range(1, 6)}
    for key, size in objects.items():
        storage.put(key, bytes([size]) * size)
    listed = list(storage.list())
    assert {found.key: found.size for found in listed} == objects
    assert all(-2 < found.age_seconds < 60 for found in listed)
    prefix = min(objects)[:10]
    assert [found.key for found in storage.list(prefix)] == [key for key in objects if key.startswith(prefix)]


def test_a_store_that_works_passes_its_check(storage: Storage):
    storage.check()
    assert list(storage.list()) == []
