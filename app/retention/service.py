"""Removes old results, some hundred jobs in a transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.audit import service as audit
from app.auth.viewer import Viewer
from app.moments import TimeAndId
from app.retention import repository
from app.retention.repository import OldResult
from app.retention.schemas import OldResultOut, RetentionOut
from app.storage.base import Storage
from app.storage.blobs import Collected, collect
from app.storage.models import BlobRow

SHOWN = 200
BATCH = 200
"""Most jobs that lose their results in one transaction."""
ITSELF = Viewer(owner="binnacle", role="admin")
"""The viewer that stands for the service when a setting, not a person, removes results."""


def preview(session: Session, days: float) -> RetentionOut:
    """Returns what `remove` would remove."""
    results, _ = repository.old_results(session, days)
    return _told(session, results, days, removed=False)[0]


@dataclass
class Removal:
    """Removes results, one batch in each transaction, so that no lock is held for long."""

    days: float
    viewer: Viewer
    after: TimeAndId | None = None
    told: RetentionOut | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of every object counted so far, by digest."""

    def batch(self, session: Session) -> tuple[RetentionOut, dict[str, int], TimeAndId | None]:
        """Removes the next results in the caller's transaction and records that in the audit; the collector deletes their bytes later."""
        results, last = repository.old_results(session, self.days, lock=True, after=self.after, most=BATCH)
        told, sizes = _told(session, results, self.days, removed=True)
        if results:
            repository.remove(session, [result.id for result in results])
            audit.record(
                session, self.viewer, "retention.remove", "results", jobs=told.jobs, bytes=told.bytes, older_than_days=self.days
            )
        return told, sizes, last

    def committed(self, told: RetentionOut, sizes: dict[str, int], last: TimeAndId | None) -> bool:
        """Counts a batch after its transaction was committed; returns whether there may be more."""
        self.sizes |= sizes
        self.after = last
        if self.told is not None:
            told = told.model_copy(
                update={
                    "jobs": self.told.jobs + told.jobs, "files": self.told.files + told.files, "bytes": sum(self.sizes.values()),
                    "items": (self.told.items + told.items)[:SHOWN],
                }
            )  # fmt: skip
        self.told = told
        return last is not None


def remove(sessions: sessionmaker[Session], days: float, viewer: Viewer) -> RetentionOut:
    """Removes all results of jobs that ended more than `days` days ago, and returns how many and how large they were."""
    removal = Removal(days, viewer)
    more = True
    while more:
        with sessions.begin() as session:
            batch = removal.batch(session)
        more = removal.committed(*batch)
    assert removal.told is not None
    return removal.told


def collect_all(sessions: sessionmaker[Session], storage: Storage, *, rounds: int = 20) -> Collected:
    """Deletes up to 20,000 objects without references and returns their count and bytes; the workers' janitor continues hourly.

    Raises StorageError.
    """
    objects = size = 0
    for _ in range(rounds):
        some = collect(sessions, storage)
        objects, size = objects + some.objects, size + some.bytes
        if not some.objects:
            break
    return Collected(objects, size)


def _told(session: Session, results: Sequence[OldResult], days: float, *, removed: bool) -> tuple[RetentionOut, dict[str, int]]:
    """Returns these results as the API shows them, and the size of each of their objects."""
    digests = sorted({digest for old in results for digest in old.digests})
    asked = select(BlobRow.digest, BlobRow.size).where(BlobRow.digest.in_(digests))
    sizes: dict[str, int] = dict(row for row in session.execute(asked))
    items = [
        OldResultOut(
            job=old.id, kind=old.kind, owner=old.owner, name=old.name, finished_at=old.finished_at, age_days=round(old.age_days, 2),
            files=old.files, bytes=old.bytes,
        )
        for old in results[:SHOWN]
    ]  # fmt: skip
    files = sum(old.files for old in results)
    told = RetentionOut(
        older_than_days=days,
        removed=removed,
        jobs=len(results),
        files=files,
        bytes=sum(sizes.values()),
        freed_bytes=None,
        items=items,
    )
    return told, sizes
