"""How an attempt ends: success, failure, cancellation, or back to the queue. Each is one transaction, fenced by the lease.

All raise Superseded when the lease is lost: then the attempt has had no effect.
"""

from typing import Any

from sqlalchemy import case, func, select, text, update
from sqlalchemy.orm import Session

from app.bell import ring_after_commit
from app.errors import as_error
from app.ids import new_id
from app.jobs.edges import settle
from app.jobs.kinds import kind_named
from app.jobs.locks import lock_ending
from app.jobs.models import Artifact, Job, JobCell
from app.jobs.states import HELD, State
from app.jobs.transitions import touch, transition
from app.jobs.turns import charge
from app.storage.blobs import Blob, reference_lock

NOW = text("now()")
_RELEASED: dict[str, Any] = {"worker_id": None, "child_pid": None, "lease_expires_at": None, "eta_at": None}


def keep_cell(session: Session, job_id: str, token: int, cell: str, blob: Blob) -> None:
    """A finished part of the job, kept for good; it ends a run of losses.

    Idempotent: when the database went away with the answer to a commit, the cell comes again, and counts and shows once.
    """
    kept = session.get(JobCell, (job_id, cell))
    if kept is not None and kept.digest == blob.digest:
        touch(session, job_id, token=token, progress_at=NOW)
        return
    touch(session, job_id, token=token, losses=0, event="cell", data={"cell": cell, "size": blob.size})
    reference_lock(session, blob)
    session.merge(JobCell(job_id=job_id, cell=cell, digest=blob.digest))
    session.flush()


def succeed(
    session: Session,
    job_id: str,
    token: int,
    outcome: dict[str, Any],
    files: list[tuple[str, str, Blob]],
    *,
    metrics: dict[str, Any],
) -> None:
    """Commits the result: artifacts `(name, media type, blob)`, the rows of its kind, the state, and what waited for it.

    A phase's total may be the most that could be needed; what was done turned out to be all of it.
    """
    lock_ending(session, [job_id], fails=False)
    whole = case((Job.progress_done > 0, Job.progress_done), else_=Job.progress_total)
    job = _end(
        session, job_id, token, State.SUCCEEDED, "succeeded", {}, phase="done", progress_done=whole, progress_total=whole,
        **_measured(metrics),
    )  # fmt: skip
    for name, media_type, blob in files:
        reference_lock(session, blob)
        session.add(
            Artifact(id=new_id("art"), job_id=job_id, name=name, digest=blob.digest, size=blob.size, media_type=media_type)
        )
    session.flush()
    result = kind_named(job.kind).record(session, job, outcome)
    session.execute(update(Job).where(Job.id == job_id).values(result=result).execution_options(synchronize_session=False))
    charge(session, job, metrics.get("device_seconds", 0))
    settle(session, job)


def fail(
    session: Session,
    job_id: str,
    token: int | None,
    error: dict[str, Any],
    *,
    metrics: dict[str, Any] | None = None,
    **values: Any,
) -> None:
    """The job failed for good: `error` says what, why and what to do. Finished cells stay."""
    lock_ending(session, [job_id], fails=True)
    job = _end(session, job_id, token, State.FAILED, "failed", error, error=error, **_measured(metrics or {}), **values)
    charge(session, job, (metrics or {}).get("device_seconds", 0))
    kind_named(job.kind).failed(session, job, error)
    settle(session, job)


def cancelled(session: Session, job_id: str, token: int | None, *, metrics: dict[str, Any] | None = None) -> None:
    """The device has stopped: the job is cancelled. Finished cells stay."""
    lock_ending(session, [job_id], fails=True)
    job = _end(session, job_id, token, State.CANCELLED, "cancelled", {}, **_measured(metrics or {}))
    charge(session, job, (metrics or {}).get("device_seconds", 0))
    error = as_error("cancelled", f"It was cancelled by {job.cancelled_by or 'an operator'}.")
    kind_named(job.kind).failed(session, job, error)
    settle(session, job)


def requeue(
    session: Session,
    job_id: str,
    token: int,
    event: str,
    reason: dict[str, Any],
    *,
    delay: float = 0,
    metrics: dict[str, Any] | None = None,
) -> None:
    """Back to the queue through nobody's fault: a yield, a drain, a transient error outside (then `delay` seconds later)."""
    job = transition(
        session, job_id, [State.RUNNING], State.QUEUED, token=token, event=event, data=reason, queued_at=NOW, phase="queued",
        not_before=text(f"now() + interval '{float(delay)} seconds'") if delay else None, **_RELEASED, **_measured(metrics or {}),
    )  # fmt: skip
    charge(session, job, (metrics or {}).get("device_seconds", 0))
    ring_after_commit(session, job.job_class)


def still_held(session: Session, job_id: str, token: int) -> Job | None:
    """The job, locked for `lose` or `fail`, if it is still held under that lease."""
    lock_ending(session, [job_id], fails=True)
    job = session.get(Job, job_id, populate_existing=True)
    return job if job is not None and job.lease_token == token and job.state in HELD else None


def lose(session: Session, job: Job, cause: dict[str, Any], *, max_losses: int, charged: bool = True) -> None:
    """The worker is gone. Back to the queue; but at `max_losses` in a row without a new cell the job itself is taken to be the killer.

    `charged=False` is for losses that are nobody's doing, such as a database outage. A job being cancelled is cancelled: its device has stopped.
    """
    used = {"device_seconds": _held_for(session, job)} if charged else {}
    if job.state == State.CANCELLING:
        cancelled(session, job.id, job.lease_token, metrics=used)
        return
    losses = job.losses + (1 if charged else 0)
    if charged and losses >= max_losses:
        what = cause.get("signal") or cause.get("code")
        detail = (
            f"Its worker was lost {losses} times in a row with no new finished part; last: {what} on "
            f"{job.worker_id}. The job seems to crash its worker. Read the worker's log, request less (fewer "
            "prompts, tokens or layers), then retry."
        )
        error = as_error("poison", detail, losses=losses, worker=job.worker_id, cause=cause)
        fail(session, job.id, job.lease_token, error, losses=losses, metrics=used)
        return
    transition(
        session, job.id, [State.RUNNING], State.QUEUED, token=job.lease_token, event="lost" if charged else "interrupted",
        data={**cause, "worker": job.worker_id, "losses": losses}, losses=losses, queued_at=NOW, phase="queued", **_RELEASED,
        **_measured(used),
    )  # fmt: skip
    charge(session, job, used.get("device_seconds", 0))
    ring_after_commit(session, job.job_class)


def _held_for(session: Session, job: Job) -> float:
    """Seconds for which a lost attempt had its device, by the database's clock: until its lease ran out, if it did."""
    lasted = func.least(func.now(), job.lease_expires_at) - job.started_at
    return float(session.scalar(select(func.greatest(func.extract("epoch", lasted), 0))) or 0)


def _end(session: Session, job_id: str, token: int | None, target: State, event: str, data: dict[str, Any], **values: Any) -> Job:
    return transition(
        session, job_id, [State.RUNNING, State.CANCELLING], target, token=token, event=event, data=data, finished_at=NOW,
        **{"phase": target.value, **_RELEASED, **values},
    )  # fmt: skip


def _measured(metrics: dict[str, Any]) -> dict[str, Any]:
    """Column updates for what an attempt used: device time adds up over attempts, the peak is the largest."""
    if not metrics:
        return {}
    rest = {key: value for key, value in metrics.items() if key not in ("device_seconds", "peak_bytes")}
    return {
        "device_seconds": Job.device_seconds + metrics.get("device_seconds", 0),
        "peak_bytes": text("greatest(jobs.peak_bytes, :peak)").bindparams(peak=metrics.get("peak_bytes", 0)),
        **({"metrics": rest} if rest else {}),
    }
