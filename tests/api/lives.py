"""What a worker would do to a job, in the test's own hands: the same functions, without a worker."""

from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from app.jobs import claims, endings
from app.jobs.claims import Claimer, Lease
from app.jobs.kinds import handler_versions
from app.jobs.models import Worker
from app.storage.base import Storage
from app.storage.blobs import stage

SUMMARY = {
    "severity": {"verdict": "severe", "dominant_dim": 21},
    "massive_dims": {"rule": "massive", "dims": [21]},
    "weight_hash": "a" * 64,
    "n_prompts": 50,
    "layers": [0, 1, 2],
}
FILE = b'{"experiment": "calibration", "aggregate": {"n_prompts": 50}}\n'


def claim(sessions: sessionmaker[Session], job_class: str = "model") -> Lease:
    """The next job of the class, held by a worker of the test's."""
    with sessions.begin() as session:
        worker = f"test-{job_class}"
        session.merge(Worker(id=worker, job_class=job_class, device="cpu", host="here", parent_pid=1, version="test"))
        session.flush()
        claimer = Claimer(worker_id=worker, job_class=job_class, child_pid=1, versions=handler_versions())
        lease = claims.claim(session, claimer, ttl=60, slice_seconds=300)
    assert lease is not None
    return lease


def succeed(
    sessions: sessionmaker[Session], storage: Storage, lease: Lease, outcome: dict[str, Any] | None = None, data: bytes = FILE
) -> None:
    """The job's result and its file, committed as a worker commits them."""
    blob = stage(sessions, storage, data)
    with sessions.begin() as session:
        endings.succeed(
            session,
            lease.job.id,
            lease.token,
            outcome or {"calibration": SUMMARY},
            [("calibration.json", "application/json", blob)],
            metrics={"device_seconds": 2.0},
        )


def fail(sessions: sessionmaker[Session], lease: Lease, code: str = "broken") -> None:
    """The job fails for good."""
    with sessions.begin() as session:
        endings.fail(session, lease.job.id, lease.token, {"code": code, "detail": "It broke. Mend it."})
