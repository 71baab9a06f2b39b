"""Removes old results. Functions run in the caller's transaction."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.audit import service as audit
from app.auth.viewer import Viewer
from app.retention import repository
from app.retention.repository import OldResult
from app.retention.schemas import OldResultOut, RetentionOut
from app.storage.base import Storage
from app.storage.blobs import Collected, collect
from app.storage.models import BlobRow

SHOWN = 200
ITSELF = Viewer(owner="binnacle", role="admin")
"""Who removes by the setting and not by a person's request."""


def preview(session: Session, days: float) -> RetentionOut:
    """What `remove` would take away."""
    return _told(session, repository.old_results(session, days), days, removed=False)


def remove(session: Session, days: float, viewer: Viewer) -> RetentionOut:
    """Takes the results away; their bytes are then nobody's, and the collector's. Recorded in the audit."""
    found = repository.old_results(session, days, lock=True)
    told = _told(session, found, days, removed=True)
    if found:
        repository.remove(session, [one.id for one in found])
        audit.record(session, viewer, "retention.remove", "results", jobs=told.jobs, bytes=told.bytes, older_than_days=days)
    return told


def collect_all(sessions: sessionmaker[Session], storage: Storage, *, rounds: int = 20) -> Collected:
    """What nothing refers to any more, up to 20,000 objects; the workers' janitor goes on hourly. Raises StorageError."""
    objects = size = 0
    for _ in range(rounds):
        some = collect(sessions, storage)
        objects, size = objects + some.objects, size + some.bytes
        if not some.objects:
            break
    return Collected(objects, size)


def _told(session: Session, found: Sequence[OldResult], days: float, *, removed: bool) -> RetentionOut:
    digests = sorted({digest for one in found for digest in one.digests})
    size = sum(session.scalars(select(BlobRow.size).where(BlobRow.digest.in_(digests))))
    items = [
        OldResultOut(
            job=one.id, kind=one.kind, owner=one.owner, name=one.name, finished_at=one.finished_at, age_days=round(one.age_days, 2),
            files=one.files, bytes=one.bytes,
        )
        for one in found[:SHOWN]
    ]  # fmt: skip
    files = sum(one.files for one in found)
    return RetentionOut(
        older_than_days=days, removed=removed, jobs=len(found), files=files, bytes=size, freed_bytes=None, items=items
    )
