"""Objects and their rows in Postgres: a referenced object always exists, and an unreferenced one is collected after a day."""

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Column, ForeignKey, MetaData, Table, Text, delete, text

from app.db import make_engine, make_sessions
from app.jobs.models import Artifact, JobCell
from app.storage import blobs
from app.storage.base import Storage, StorageUnavailable, key_of
from app.storage.blobs import Blob, BlobGone, Collected, adopt_orphans, collect, reference_lock, referencing_columns, stage
from tests.forked import Forking
from tests.storage.crash import GARBAGE, SHARED, STEPS
from tests.storage.references import (
    Meddling,
    Sessions,
    age,
    assert_every_reference_has_its_object,
    insert_artifact,
    new_job,
    refer,
    rows,
)

NOTHING = Collected(0, 0)
DAY_OLD = 90_000
"""Seconds: 25 hours, one more than an unreferenced object is kept."""


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    engine = make_engine(database_url, pool_size=10)
    yield make_sessions(engine)
    engine.dispose()


def keys(storage: Storage) -> set[str]:
    """The keys of all stored objects."""
    return {found.key for found in storage.list()}


def test_staging_names_the_bytes_by_their_digest(sessions: Sessions, storage: Storage, tmp_path: Path):
    file = tmp_path / "result.json"
    file.write_bytes(b'{"severity": "mild"}')
    blob = stage(sessions, storage, file)
    assert blob.digest == hashlib.sha256(b'{"severity": "mild"}').hexdigest()
    assert blob.size == 20
    assert storage.get(key_of(blob.digest)) == b'{"severity": "mild"}'
    again = stage(sessions, storage, b'{"severity": "mild"}')
    assert (again.digest, rows(sessions)) == (blob.digest, {blob.digest})


def test_only_objects_unreferenced_and_untouched_for_a_day_are_collected(sessions: Sessions, storage: Storage):
    job_id = new_job(sessions)
    artifact, cell, old, young = (stage(sessions, storage, content) for content in (b"artifact", b"cell", b"old", b"young"))
    refer(sessions, job_id, artifact)
    with sessions.begin() as session:
        reference_lock(session, cell)
        session.add(JobCell(job_id=job_id, cell="layer 3", digest=cell.digest))
    for blob in (artifact, cell, old):
        age(sessions, DAY_OLD, blob.digest)
    age(sessions, 23 * 3600, young.digest)
    assert collect(sessions, storage) == Collected(1, len(b"old"))
    assert rows(sessions) == {artifact.digest, cell.digest, young.digest}
    assert keys(storage) == {key_of(digest) for digest in rows(sessions)}


def test_deleting_a_job_keeps_an_object_that_another_job_refers_to(sessions: Sessions, local: Storage):
    mine, yours = new_job(sessions), new_job(sessions)
    refer(sessions, mine, stage(sessions, local, b"the same result"))
    refer(sessions, yours, stage(sessions, local, b"the same result"))
    age(sessions, DAY_OLD)
    for job_id, collected in ((mine, NOTHING), (yours, Collected(1, 15))):
        with sessions.begin() as session:
            session.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": job_id})
        assert collect(sessions, local) == collected


def test_staging_again_keeps_an_old_object_from_the_collector(sessions: Sessions, local: Storage):
    stage(sessions, local, b"seen again")
    age(sessions, DAY_OLD)
    blob = stage(sessions, local, b"seen again")
    assert collect(sessions, local) == NOTHING
    refer(sessions, new_job(sessions), blob)
    assert assert_every_reference_has_its_object(sessions, local) == 1


def test_a_collected_object_cannot_be_referred_to_but_staged_again(sessions: Sessions, local: Storage):
    job_id = new_job(sessions)
    blob = stage(sessions, local, b"forgotten")
    age(sessions, DAY_OLD)
    collect(sessions, local)
    with pytest.raises(BlobGone, match="stage it again"):
        refer(sessions, job_id, blob)
    refer(sessions, job_id, stage(sessions, local, b"forgotten"))
    assert assert_every_reference_has_its_object(sessions, local) == 1


def test_an_object_staged_a_day_ago_cannot_be_referred_to(sessions: Sessions, local: Storage):
    """It was collected since, and another process that staged it died before the put: its row exists, the object does not."""
    blob = stage(sessions, local, b"slow worker")
    age(sessions, DAY_OLD)
    collect(sessions, local)
    with pytest.raises(KeyboardInterrupt):
        stage(sessions, Meddling(local, before=interrupt), b"slow worker")
    assert rows(sessions) == {blob.digest}
    assert keys(local) == set()
    yesterday = replace(blob, staged_at=blob.staged_at - timedelta(hours=25))
    with pytest.raises(BlobGone, match="after 43200 s"):
        refer(sessions, new_job(sessions), yesterday)


def interrupt(name: str, key: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_after_any_step_leaves_no_reference_without_its_object(
    sessions: Sessions, database_url: str, tmp_path: Path, local: Storage, step: str, forking: Forking
):
    command = ["-m", "tests.storage.crash", database_url, str(tmp_path / "objects"), step]
    status, _, said = forking.run(command, env=dict(os.environ), folder=tmp_path, seconds=60)
    assert status == 9, said
    referenced = step in STEPS[STEPS.index("referenced") :]
    assert assert_every_reference_has_its_object(sessions, local) == (1 if referenced else 0)
    # Whatever the dead process left, both objects can be staged and referred to again, and both are collected afterwards.
    job_id = new_job(sessions)
    for data in (SHARED, GARBAGE):
        refer(sessions, job_id, stage(sessions, local, data))
    assert assert_every_reference_has_its_object(sessions, local) == 2
    with sessions.begin() as session:
        session.execute(delete(Artifact))
    age(sessions, DAY_OLD)
    collect(sessions, local)
    assert rows(sessions) == set()
    assert keys(local) == set()


def test_the_collector_skips_a_row_that_is_being_referred_to(sessions: Sessions, local: Storage):
    job_id = new_job(sessions)
    blob = stage(sessions, local, b"in use")
    age(sessions, DAY_OLD)
    with sessions.begin() as session:
        reference_lock(session, blob)
        assert collect(sessions, local) == NOTHING
        insert_artifact(session, job_id, blob)
    assert collect(sessions, local) == NOTHING
    assert assert_every_reference_has_its_object(sessions, local) == 1


def test_references_of_two_users_to_one_object_do_not_wait_for_each_other(sessions: Sessions, local: Storage):
    """References of one user do wait, for a commit, so that the object counts once toward the user's bytes."""
    job_id, others = new_job(sessions), new_job(sessions, "bob")
    blob = stage(sessions, local, b"popular")
    with sessions.begin() as first:
        reference_lock(first, blob)
        insert_artifact(first, job_id, blob)
        refer(sessions, others, stage(sessions, local, b"popular"))


def test_a_reference_made_during_a_collection_keeps_its_object(sessions: Sessions, local: Storage):
    """The collector has listed both objects; while it deletes the first, the second gets a reference."""
    job_id = new_job(sessions)
    first, second = stage(sessions, local, b"first"), stage(sessions, local, b"second")
    age(sessions, 90_001, first.digest)
    age(sessions, DAY_OLD, second.digest)
    store = Meddling(local, before=lambda name, key: refer(sessions, job_id, second) and None)
    assert collect(sessions, store) == Collected(1, 5)
    assert assert_every_reference_has_its_object(sessions, local) == 1


def test_staging_during_the_deletion_waits_and_stores_the_object_again(sessions: Sessions, local: Storage):
    stage(sessions, local, b"phoenix")
    age(sessions, DAY_OLD)
    staged: list[Blob] = []
    stager = threading.Thread(target=lambda: staged.append(stage(sessions, local, b"phoenix")))

    def stage_meanwhile(name: str, key: str) -> None:
        stager.start()
        stager.join(0.5)
        assert stager.is_alive(), "the stage must wait for the collector's lock"

    collect(sessions, Meddling(local, before=stage_meanwhile))
    stager.join()
    refer(sessions, new_job(sessions), staged[0])
    assert assert_every_reference_has_its_object(sessions, local) == 1


def test_references_from_a_table_unknown_to_this_process_keep_objects(sessions: Sessions, local: Storage):
    """An older collector must not delete objects that only a newer server refers to."""
    blob = stage(sessions, local, b"of a newer version")
    with sessions.begin() as session:
        session.execute(text("CREATE TABLE unknown_here (digest text REFERENCES blobs)"))
        session.execute(text("INSERT INTO unknown_here VALUES (:digest)"), {"digest": blob.digest})
    age(sessions, DAY_OLD)
    assert collect(sessions, local) == NOTHING
    assert local.get(key_of(blob.digest)) == b"of a newer version"
    assert rows(sessions) == {blob.digest}


def test_referencing_columns_are_found_from_the_models():
    assert {str(column) for column in referencing_columns()} >= {"artifacts.digest", "job_cells.digest"}


def test_a_reference_that_would_vanish_with_its_blob_is_refused(monkeypatch: pytest.MonkeyPatch):
    metadata = MetaData()
    Table("blobs", metadata, Column("digest", Text, primary_key=True))
    Table("careless", metadata, Column("digest", ForeignKey("blobs.digest", ondelete="CASCADE")))
    monkeypatch.setattr(blobs.Base, "metadata", metadata)
    with pytest.raises(ValueError, match=r"careless\.digest.*ON DELETE CASCADE"):
        referencing_columns()


def test_a_deletion_that_fails_keeps_the_row_for_the_next_collection(sessions: Sessions, local: Storage):
    blob = stage(sessions, local, b"stubborn")
    age(sessions, DAY_OLD)

    def fail(name: str, key: str) -> None:
        raise StorageUnavailable("no answer")

    for moment in ({"before": fail}, {"after": fail}):
        with pytest.raises(StorageUnavailable):
            collect(sessions, Meddling(local, **moment))
        assert rows(sessions) == {blob.digest}
        age(sessions, DAY_OLD)
    assert collect(sessions, local) == Collected(1, 8)


def test_an_object_that_cannot_be_deleted_does_not_block_the_next_ones(sessions: Sessions, local: Storage):
    """The oldest object comes first; its failure must not end every collection there."""
    stubborn = stage(sessions, local, b"stubborn")
    stage(sessions, local, b"younger")
    age(sessions, DAY_OLD)
    age(sessions, 100_000, stubborn.digest)

    def fail(name: str, key: str) -> None:
        if key == key_of(stubborn.digest):
            raise StorageUnavailable("no answer")

    with pytest.raises(StorageUnavailable):
        collect(sessions, Meddling(local, before=fail))
    assert collect(sessions, Meddling(local, before=fail)) == Collected(1, 7)
    assert rows(sessions) == {stubborn.digest}


def test_concurrent_collectors_count_each_object_once(sessions: Sessions, local: Storage):
    for n in range(40):
        stage(sessions, local, b"x" * n)
    age(sessions, DAY_OLD)
    done: list[Collected] = []
    threads = [threading.Thread(target=lambda: done.append(collect(sessions, local))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(collected.objects for collected in done) == 40
    assert sum(collected.bytes for collected in done) == sum(range(40))


def test_a_limit_bounds_one_collection(sessions: Sessions, local: Storage):
    for n in range(5):
        stage(sessions, local, b"x" * n)
    age(sessions, DAY_OLD)
    assert [collect(sessions, local, limit=2).objects for _ in range(4)] == [2, 2, 1, 0]


def test_objects_without_a_row_are_adopted_once_old_and_then_collected(sessions: Sessions, storage: Storage):
    kept = stage(sessions, storage, b"has a row")
    lost = hashlib.sha256(b"lost").hexdigest()
    storage.put(key_of(lost), b"lost")
    assert adopt_orphans(sessions, storage) == 0, "a stage may still be about to refer to it"
    assert adopt_orphans(sessions, storage, min_age_seconds=-60) == 1
    assert adopt_orphans(sessions, storage, min_age_seconds=-60) == 0
    assert rows(sessions) == {kept.digest, lost}
    age(sessions, DAY_OLD, lost)
    assert collect(sessions, storage) == Collected(1, 4)


def test_concurrent_staging_and_collecting_never_loses_a_referenced_object(sessions: Sessions, local: Storage):
    """Four threads stage three objects and two collect, with the day shortened to 0.3 s and random pauses; some deletions fail. On a
    slow machine the day is longer. It all lasts until each has happened often enough."""
    job_id = new_job(sessions)
    began = time.monotonic()
    refer(sessions, job_id, stage(sessions, local, b"timed"))
    day = max(0.3, 20 * (time.monotonic() - began))
    stop, last = time.monotonic() + 5, time.monotonic() + 60
    collected, gone, referred, failures = [], [], [], []

    def over() -> bool:
        enough = sum(collected) > 3 and gone and len(referred) > 10
        return time.monotonic() > (stop if enough or failures else last)

    def jitter(name: str, key: str) -> None:
        time.sleep(random.random() * 0.05)
        if name == "delete" and random.random() < 0.2:
            raise StorageUnavailable("the answer got lost")

    store = Meddling(local, before=lambda name, key: time.sleep(random.random() * 0.02), after=jitter)

    def stager() -> None:
        while not over():
            blob = stage(sessions, store, random.choice([b"one", b"two", b"three"]))
            time.sleep(random.choice([0, 0, day / 3, day * 4 / 3]))
            try:
                artifact = refer(sessions, job_id, blob, max_age_seconds=day / 2)
            except BlobGone:
                gone.append(blob)
                continue
            referred.append(blob)
            for _ in range(random.randrange(4)):
                local.get(key_of(blob.digest))
                time.sleep(0.1)
            local.get(key_of(blob.digest))
            with sessions.begin() as session:
                session.execute(delete(Artifact).where(Artifact.id == artifact))
            time.sleep(random.random() * 0.5)

    def collector() -> None:
        while not over():
            try:
                collected.append(collect(sessions, store, min_age_seconds=day).objects)
            except StorageUnavailable:
                continue
            time.sleep(0.02)

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in [stager] * 4 + [collector] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(collected) > 3
    assert gone
    assert len(referred) > 10
