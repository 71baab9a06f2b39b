"""Stores bytes and references so that no row points at a missing object, even after a crash.

    stage:   hash -> upsert the row (touched now), committed -> put the object
    refer:   one transaction of the caller's: lock the row, insert the reference
    discard: the same as collect, at once, by the stage that was refused its reference
    collect: one transaction: lock a row unreferenced and untouched for 24 h -> delete the object -> the row goes with the commit

Why it holds. A stage touches the row before it looks for the object, so for 24 h after that nobody collects it, and a reference
must come within 12 h of its stage. Once referenced, the row cannot be deleted (the foreign key). `collect` deletes the row first
in its transaction, so that the database itself has said that nothing refers to it before the object goes. A crash leaves a row or
an object that nothing refers to; `collect` and `adopt_orphans` find both. All ages are by the database's one clock.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.schema import Column

from app.db import Base
from app.storage.base import Storage, digest_of, key_of
from app.storage.hashing import measure
from app.storage.models import BlobRow

DAY = 86_400.0
BATCH = 1_000
"""Objects that one statement adopts."""
_ADOPT = text("""
INSERT INTO blobs (digest, size, touched_at)
SELECT digest, size, now() - make_interval(secs => age)
FROM unnest(CAST(:digests AS text[]), CAST(:sizes AS bigint[]), CAST(:ages AS float8[])) AS objects(digest, size, age)
ON CONFLICT DO NOTHING RETURNING 1""")


T = TypeVar("T")


class BlobGone(Exception):
    """The staged object may have been collected before it was referred to: stage it again."""


@dataclass(frozen=True)
class Blob:
    """A stored object: SHA-256 (hexadecimal), bytes, and when its stage began (the database's clock)."""

    digest: str
    size: int
    staged_at: datetime


@dataclass(frozen=True)
class Collected:
    """What one collection removed."""

    objects: int
    bytes: int


def stage(sessions: sessionmaker[Session], storage: Storage, data: bytes | Path) -> Blob:
    """Stores the bytes under their digest and returns once they are durable; nothing refers to them yet.

    Doing it again with the same bytes costs a hash and a look. Raises what `Storage.put` raises.
    """
    [blob] = stage_all(sessions, storage, [data])
    return blob


def stage_all(sessions: sessionmaker[Session], storage: Storage, data: Sequence[bytes | Path]) -> list[Blob]:
    """The same for several, their rows written in one transaction."""
    measured = [measure(one) for one in data]
    if not measured:
        return []
    with sessions.begin() as session:
        staged_at = [announce(session, digest, size) for digest, size in sorted(set(measured))][-1]
    for one, (digest, _) in zip(data, measured, strict=True):
        storage.put(key_of(digest), one)
    return [Blob(digest, size, staged_at) for digest, size in measured]


def announce(session: Session, digest: str, size: int) -> datetime:
    """The first step of a stage, and when it was: the row, touched now. Its transaction must be committed before the object is put."""
    upsert = insert(BlobRow).values(digest=digest, size=size)
    touched = upsert.on_conflict_do_update(
        index_elements=[BlobRow.digest], set_={"touched_at": func.greatest(BlobRow.touched_at, func.now())}
    )
    staged_at: datetime | None = session.scalar(touched.returning(func.now()))
    assert staged_at is not None
    return staged_at


def staging_again(work: Callable[[], T]) -> T:
    """`work()`, which stages blobs and then refers to them; once more where half a day passed between the two steps."""
    try:
        return work()
    except BlobGone:
        return work()


def reference_lock(session: Session, *blobs: Blob, max_age_seconds: float = DAY / 2) -> None:
    """Locks the rows of blobs to the end of the caller's transaction, in which the caller inserts its references.

    The lock keeps collectors away, and neither stages nor other references. Raises BlobGone when the row was collected, or when
    the stage is so old that it may have been (another stage can have made the row anew without having put the object yet).
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
    """Every column of the loaded models with a foreign key to `blobs.digest`."""
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
    """Deletes up to `limit` objects that nothing has referred to or touched for `min_age_seconds`, each in its own transaction.

    Any number of collectors may run beside each other and beside stages. Raises what `Storage.delete` raises, with the row kept.
    """
    storage.sweep(min_age_seconds)
    with sessions() as session:
        candidates = session.scalars(
            select(BlobRow.digest).where(_garbage(min_age_seconds)).order_by(BlobRow.touched_at).limit(limit)
        ).all()
    sizes = [size for digest in candidates if (size := _collect_one(sessions, storage, digest, min_age_seconds)) is not None]
    return Collected(objects=len(sizes), bytes=sum(sizes))


def adopt_orphans(sessions: sessionmaker[Session], storage: Storage, *, min_age_seconds: float = DAY) -> int:
    """Gives old objects without a row (a database restored from a backup, say) a row as old as they are, and says how many.

    The next `collect` then removes them under the row's lock. To delete them here would race with a stage that has just found the
    object present.
    """
    adopted = 0
    old = (found for found in storage.list() if found.age_seconds >= min_age_seconds)
    while batch := list(itertools.islice(old, BATCH)):
        columns = zip(*((digest_of(found.key), found.size, found.age_seconds) for found in batch), strict=True)
        with sessions.begin() as session:
            asked = dict(zip(("digests", "sizes", "ages"), map(list, columns), strict=True))
            adopted += len(session.scalars(_ADOPT, asked).all())
    return adopted


def unreferenced(session: Session, blob: Blob) -> bool:
    """Whether this stage was the last of its bytes and nothing refers to them: the row is then gone, and locked until the caller commits,
    who deletes the object before that.
    """
    last = select(BlobRow.size).where(BlobRow.digest == blob.digest, BlobRow.touched_at == blob.staged_at).with_for_update()
    return session.scalar(last) is not None and _delete_row(session, blob.digest)


def _delete_row(session: Session, digest: str) -> bool:
    """Whether the row could go. The foreign keys refuse it while anything refers to it, from tables that are not loaded here too."""
    try:
        with session.begin_nested():
            session.execute(delete(BlobRow).where(BlobRow.digest == digest))
    except IntegrityError:
        return False
    return True


def _garbage(min_age_seconds: float) -> ColumnElement[bool]:
    old = BlobRow.touched_at < func.now() - timedelta(seconds=min_age_seconds)
    return and_(old, *(~exists().where(column == BlobRow.digest) for column in referencing_columns()))


def _collect_one(sessions: sessionmaker[Session], storage: Storage, digest: str, min_age_seconds: float) -> int | None:
    """Size of the object deleted; None when its row is locked, was touched or referred to since, or is not ours to delete."""
    lock = select(BlobRow.size).where(BlobRow.digest == digest, _garbage(min_age_seconds)).with_for_update(skip_locked=True)
    with sessions.begin() as session:
        size = session.scalar(lock)
        if size is None:
            return None
        # First the row, though only the commit makes it so: a reference may have come while we waited for the lock. With the row locked,
        # none can come after this.
        if not _delete_row(session, digest):
            return None
        storage.delete(key_of(digest))
    return size
