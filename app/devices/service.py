"""Pauses, drains and resumes devices. Functions run in the caller's transaction."""

from typing import Literal

from sqlalchemy.orm import Session

from app.audit import service as audit
from app.auth.viewer import Viewer
from app.bell import ring_after_commit
from app.devices import repository
from app.devices.models import Worker
from app.devices.schemas import HoldRequest
from app.errors import not_found
from app.text import check_text


def hold(session: Session, worker_id: str, viewer: Viewer, request: HoldRequest, mode: Literal["paused", "draining"]) -> None:
    """Pauses or drains a node: from this transaction's end it claims no job. A paused node finishes its present job, a draining node returns it
    to the queue. Raises Problem 404.
    """
    check_text(request.model_dump())
    _lock(session, worker_id)
    audit.record(session, viewer, f"device.{mode}", worker_id, reason=request.reason, minutes=request.minutes)
    repository.hold(session, worker_id, mode=mode, reason=request.reason, held_by=viewer.owner, minutes=request.minutes)


def resume(session: Session, worker_id: str, viewer: Viewer) -> None:
    """Lets a node claim jobs again, at once; no error if it was not held. Raises Problem 404."""
    worker = _lock(session, worker_id)
    repository.release(session, worker_id)
    audit.record(session, viewer, "device.resume", worker_id)
    ring_after_commit(session, worker.job_class)


def _lock(session: Session, worker_id: str) -> Worker:
    worker = repository.lock_worker(session, worker_id)
    if worker is None:
        raise not_found("device", worker_id)
    return worker
