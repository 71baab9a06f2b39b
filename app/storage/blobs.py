"""Stores bytes and references so that no row points at a missing object, even after a crash.

    stage:   hash -> upsert the row (touched now), committed -> put the object
    refer:   one transaction of the caller's: lock the row, insert the reference
    discard: like collect, but immediate, by the upload that could not add its reference (`app.storage.staging`)
    collect: one transaction: lock a row unreferenced and untouched for 24 h -> delete the object -> the row goes with the commit

Why this is safe. A stage touches the row before it looks for the object, so the object is not collected for the next 24 h. A reference
must follow within 12 h of its stage. A row with a reference cannot be deleted (foreign key). `collect` deletes the row first in its
transaction, so that the database has confirmed that nothing refers to it before the object is deleted. A crash leaves a row or an object
without references; `collect` and `adopt_orphans` find both. All ages are measured by the database's clock.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.schema import Column

from app.db import Base
from app.moments import ago
from app.storage.base import Storage, StorageError, digest_of, key_of
from app.storage.hashing import measure
from app.storage.models import BlobRow

DAY = 86_400.0
BATCH = 1_000
"""Objects adopted by one statement."""
_ADOPT = text("""
INSERT INTO blobs (digest, size, touched_at)
SELECT digest, size, now() - make_interval(secs => age)
FROM unnest(CAST(:digests AS text[]), CAST(:sizes AS bigint[]), CAST(:ages AS float8[])) AS objects(digest, size, age)
ON CONFLICT DO NOTHING RETURNING 1""")


T = TypeVar("T")


class BlobGone(Exception):
    """The staged object may have been collected before a reference was added: stage it again."""


@dataclass(frozen=True)
class Blob:
    """A stored object: SHA-256 (hexadecimal), size in bytes, and when its stage began (database clock)."""

    digest: str
    size: int
    staged_at: datetime


@dataclass(frozen=True)
class Collected:
    """Numbers of objects and bytes removed by one collection."""

    objects: int
    bytes: int


def stage(sessions: sessionmaker[Session], storage: Storage, data: bytes | Path) -> Blob:
    """Stores the bytes under their digest; on return they are durable, but nothing refers to them yet.

    Repeating it with the same bytes costs only a hash and a lookup. Raises the errors of `Storage.put`.
    """
    [blob] = stage_all(sessions, storage, [data])
    return blob


def stage_all(sessions: sessionmaker[Session], storage: Storage, data: Sequence[bytes | Path]) -> list[Blob]:
    """Stages several blobs and writes their rows in one transaction."""
    measured = [measure(content) for content in data]
    if not measured:
        return []
    with sessions.begin() as session:
        staged_at = [announce(session, digest, size) for digest, size in sorted(set(measured))][-1]
    for content, (digest, _) in zip(data, measured, strict=True):
        storage.put(key_of(digest), content)
    return [Blob(digest, size, staged_at) for digest, size in measured]


def announce(session: Session, digest: str, size: int) -> datetime:
    """Begins a stage: inserts or touches the row, and returns the time. Commit the transaction before putting the object."""
    upsert = insert(BlobRow).values(digest=digest, size=size)
    touched = upsert.on_conflict_do_update(
        index_elements=[BlobRow.digest], set_={"touched_at": func.greatest(BlobRow.touched_at, func.now())}
    )
    staged_at: datetime | None = session.scalar(touched.returning(func.now()))
    assert staged_at is not None
    return staged_at


def staging_again(work: Callable[[], T]) -> T:
    """Runs `work()`, which stages blobs and then refers to them; repeats it once if more than half a day passed between these steps."""
    try:
        return work()
    except BlobGone:
        return work()


def reference_lock(session: Session, *blobs: Blob, max_age_seconds: float = DAY / 2) -> None:
    """Locks the rows of blobs until the end of the caller's transaction, in which the caller inserts its references.

    The lock blocks collectors, but not stages or other references. Raises BlobGone when the row was collected, or may have been
    collected because the stage is so old: another stage may have inserted the row again but not yet have put the object.
    """
    rows = select(BlobRow.digest, func.clock_timestamp().label("now")).where(BlobRow.digest.in_({blob.digest for blob in blobs}))
    lock = rows.order_by(BlobRow.digest).with_for_update(of=BlobRow, read=True, key_share=True)
    now = {row.digest: row.now for row in session.execute(lock)}
    for blob in blobs:
        if blob.digest not in now:
            raise BlobGone(f"sha256/{blob.digest} was collected before anything referred to it; stage it again")
        age = (now[blob.digest] - blob.staged_at).total_seconds()
        if age > max_age_seconds:
            raise BlobGone(
                f"sha256/{blob.digest} was staged {age:.0f} s ago; after {max_age_seconds:.0f} s it must be staged again"
            )


def referencing_columns() -> list[Column[object]]:
    """Returns every column of the loaded models with a foreign key to `blobs.digest`."""
    columns = []
    for table in Base.metadata.tables.values():
        for column in table.columns:
            for key in column.foreign_keys:
                if key.target_fullname == f"{BlobRow.__tablename__}.digest":
                    if key.ondelete not in (None, "RESTRICT", "NO ACTION"):
                        raise ValueError(
                            f"{column}: a reference to a blob must keep it alive; ON DELETE {key.ondelete} would not"
                        )
                    columns.append(column)
    return columns


def collect(sessions: sessionmaker[Session], storage: Storage, *, min_age_seconds: float = DAY, limit: int = 1000) -> Collected:
    """Deletes up to `limit` objects that were unreferenced and untouched for `min_age_seconds`, each in its own transaction.

    Several collectors and stages may run at the same time. Raises the errors of `Storage.delete`; the row is then kept as if it had been touched
    now, so that an object that cannot be deleted does not stop the later objects each time.
    """
    storage.sweep(min_age_seconds)
    with sessions() as session:
        candidates = session.scalars(
            select(BlobRow.digest).where(_garbage(min_age_seconds)).order_by(BlobRow.touched_at).limit(limit)
        ).all()
    sizes = [size for digest in candidates if (size := _collect_one(sessions, storage, digest, min_age_seconds)) is not None]
    return Collected(objects=len(sizes), bytes=sum(sizes))


def adopt_orphans(sessions: sessionmaker[Session], storage: Storage, *, min_age_seconds: float = DAY) -> int:
    """Inserts rows for old objects without a row (for example after restoring a backup of the database); returns their number.

    Each row gets the age of its object. The next `collect` then removes the object under the row's lock; deleting it here would race with a
    stage that has just found the object present.
    """
    adopted = 0
    old = (stored for stored in storage.list() if stored.age_seconds >= min_age_seconds)
    while batch := list(itertools.islice(old, BATCH)):
        columns = zip(*((digest_of(stored.key), stored.size, stored.age_seconds) for stored in batch), strict=True)
        with sessions.begin() as session:
            asked = dict(zip(("digests", "sizes", "ages"), map(list, columns), strict=True))
            adopted += len(session.scalars(_ADOPT, asked).all())
    return adopted


def delete_unreferenced(session: Session, blob: Blob) -> bool:
    """Deletes the row if this stage was the last of its bytes and nothing refers to them; returns whether it did.

    The deleted row stays locked until the caller commits; the caller deletes the object before that.
    """
    last = select(BlobRow.size).where(BlobRow.digest == blob.digest, BlobRow.touched_at == blob.staged_at).with_for_update()
    return session.scalar(last) is not None and _delete_row(session, blob.digest)


def _delete_row(session: Session, digest: str) -> bool:
    """Deletes the row; returns False if foreign keys prevent it. They also cover tables that are not loaded here."""
    try:
        with session.begin_nested():
            session.execute(delete(BlobRow).where(BlobRow.digest == digest))
    except IntegrityError:
        return False
    return True


def _garbage(min_age_seconds: float) -> ColumnElement[bool]:
    old = BlobRow.touched_at < ago(seconds=min_age_seconds)
    return and_(old, *(~exists().where(column == BlobRow.digest) for column in referencing_columns()))


def _collect_one(sessions: sessionmaker[Session], storage: Storage, digest: str, min_age_seconds: float) -> int | None:
    """Deletes an object and returns its size; None when its row is locked, was touched or referenced since, or cannot be deleted."""
    lock = select(BlobRow.size).where(BlobRow.digest == digest, _garbage(min_age_seconds)).with_for_update(skip_locked=True)
    failed: StorageError | None = None
    with sessions.begin() as session:
        size = session.scalar(lock)
        if size is None:
            return None
        # Delete the row first, although this takes effect only with the commit: a reference may have been added after the statement above began
        # and before it locked the row. Once the row is locked, no reference can be added.
        try:
            with session.begin_nested():
                if not _delete_row(session, digest):
                    return None
                storage.delete(key_of(digest))
        except StorageError as error:
            failed = error
            session.execute(update(BlobRow).where(BlobRow.digest == digest).values(touched_at=func.now()))
    if failed is not None:
        raise failed
    return size
