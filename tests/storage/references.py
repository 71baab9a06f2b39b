"""Helpers for tests of objects: jobs and references to objects in the database, and a store that calls a function around put and delete."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session, sessionmaker

from app.ids import new_id
from app.jobs.models import Artifact, Job, JobCell
from app.storage.base import Storage, key_of
from app.storage.blobs import Blob, reference_lock
from app.storage.models import BlobRow

Sessions = sessionmaker[Session]


def new_job(sessions: Sessions, owner: str = "ada") -> str:
    """Adds a job and returns its id."""
    job = Job(id=new_id("job"), kind="calibrate", job_class="light", owner=owner, spec={}, spec_hash="0" * 64)
    with sessions.begin() as session:
        session.add(job)
    return job.id


def insert_artifact(session: Session, job_id: str, blob: Blob) -> str:
    """Adds an artifact of the job that refers to the object, and returns its id."""
    identifier = new_id("art")
    session.add(
        Artifact(id=identifier, job_id=job_id, name=identifier, digest=blob.digest, size=blob.size, media_type="application/json")
    )
    session.flush()
    return identifier


def refer(sessions: Sessions, job_id: str, blob: Blob, **limits: float) -> str:
    """Refers to the object as the runner does at the end of a job; returns the id of the artifact."""
    with sessions.begin() as session:
        reference_lock(session, blob, **limits)
        return insert_artifact(session, job_id, blob)


def age(sessions: Sessions, seconds: float, digest: str | None = None) -> None:
    """Makes one object, or all, look untouched for `seconds`."""
    statement = update(BlobRow).values(touched_at=text(f"now() - interval '{seconds} seconds'"))
    with sessions.begin() as session:
        session.execute(statement if digest is None else statement.where(BlobRow.digest == digest))


def rows(sessions: Sessions) -> set[str]:
    """The digests of all objects that the database knows."""
    with sessions() as session:
        return set(session.scalars(select(BlobRow.digest)))


def assert_every_reference_has_its_object(sessions: Sessions, storage: Storage) -> int:
    """Reads every object that an artifact or a cell refers to, which checks its digest; returns their number."""
    with sessions() as session:
        digests = {*session.scalars(select(Artifact.digest)), *session.scalars(select(JobCell.digest))}
    for digest in digests:
        storage.get(key_of(digest))
    return len(digests)


class Meddling:
    """A real store that calls `before(name, key)` and `after(name, key)` around put and delete."""

    def __init__(
        self, store: Storage, *, before: Callable[[str, str], None] | None = None, after: Callable[[str, str], None] | None = None
    ) -> None:
        self._store = store
        self._before = before or (lambda _name, _key: None)
        self._after = after or (lambda _name, _key: None)

    def put(self, key: str, data: bytes | Path) -> bool:
        self._before("put", key)
        written = self._store.put(key, data)
        self._after("put", key)
        return written

    def delete(self, key: str) -> None:
        self._before("delete", key)
        self._store.delete(key)
        self._after("delete", key)

    def list(self, prefix: str = "sha256/") -> Iterator[Any]:
        return self._store.list(prefix)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
