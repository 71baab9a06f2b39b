"""Ends an attempt: success, failure, cancellation, or back to the queue. Each function is one transaction, fenced by the lease.

All raise Superseded when the lease is lost; the attempt then changes nothing.
"""

from collections.abc import Mapping

from sqlalchemy import case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.bell import ring_after_commit
from app.db import among
from app.errors import as_error
from app.ids import new_id
from app.jobs.claims import Reached
from app.jobs.edges import settle
from app.jobs.kinds import kind_named
from app.jobs.locks import lock_ending
from app.jobs.models import Artifact, Job, JobCell
from app.jobs.states import HELD, State
from app.jobs.transitions import Changes, Event, EventData, touch, transition
from app.jobs.turns import charge
from app.moments import ahead
from app.storage.blobs import Blob, reference_lock
from terms.documents.jobs import ErrorFacts
from terms.values import JsonObject

NOTHING_NEW = Reached()
_RELEASED: Changes = {"worker_id": None, "child_pid": None, "lease_expires_at": None, "eta_at": None}


def keep_cells(session: Session, job_id: str, token: int, cells: Mapping[str, Blob], reached: Reached = NOTHING_NEW) -> Job:
    """Stores finished parts (cells) of the job for good; a new cell resets the job's count of consecutive losses.

    Idempotent: when the connection breaks before the answer to a commit, the worker sends the cell again; it is counted and shown once.
    """
    asked = select(JobCell.cell, JobCell.digest).where(JobCell.job_id == job_id, among(JobCell.cell, cells))
    kept = {row.cell: row.digest for row in session.execute(asked)}
    new = {cell: blob for cell, blob in cells.items() if kept.get(cell) != blob.digest}
    finished: list[Event] = [("cell", {"cell": cell, "size": blob.size}) for cell, blob in new.items()]
    events = [*reached.events, *finished]
    values: Changes = {**reached.values, "progress_at": func.now(), **({"losses": 0} if new else {})}
    job = touch(session, job_id, token=token, values=values, events=events)
    if new:
        reference_lock(session, *new.values())
        rows = [{"job_id": job_id, "cell": cell, "digest": blob.digest} for cell, blob in sorted(new.items())]
        statement = insert(JobCell).values(rows)
        session.execute(
            statement.on_conflict_do_update(index_elements=["job_id", "cell"], set_={"digest": statement.excluded.digest})
        )
    return job


def succeed(
    session: Session,
    job_id: str,
    token: int,
    outcome: JsonObject,
    files: list[tuple[str, str, Blob]],
    *,
    metrics: Mapping[str, float],
    reached: Reached = NOTHING_NEW,
) -> None:
    """Commits the result: artifacts `(name, media type, blob)`, the rows of the job's kind, the state, and the release of dependent jobs.

    A phase's total may be an upper limit; on success it is set to the amount of work done.
    """
    lock_ending(session, [job_id], fails=False)
    values = reached.values
    whole = case((Job.progress_done > 0, Job.progress_done), else_=Job.progress_total)
    done = whole if "progress_done" not in values else values["progress_done"] or values["progress_total"]
    job = _end(
        session, job_id, token, State.SUCCEEDED, {}, reached,
        {"phase": "done", "progress_done": done, "progress_total": done, **_measured(metrics)},
    )  # fmt: skip
    if files:
        reference_lock(session, *(blob for _, _, blob in files))
        session.add_all(
            Artifact(id=new_id("art"), job_id=job_id, name=name, digest=blob.digest, size=blob.size, media_type=media_type)
            for name, media_type, blob in files
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
    error: ErrorFacts,
    *,
    metrics: Mapping[str, float] | None = None,
    reached: Reached = NOTHING_NEW,
    losses: int | None = None,
) -> None:
    """Fails the job for good: `error` says what went wrong, why and what to do. Finished cells stay. `losses`: the new count of lost workers."""
    lock_ending(session, [job_id], fails=True)
    values: Changes = {"error": error, **_measured(metrics or {}), **({} if losses is None else {"losses": losses})}
    job = _end(session, job_id, token, State.FAILED, error, reached, values)
    charge(session, job, (metrics or {}).get("device_seconds", 0))
    kind_named(job.kind).failed(session, job, error)
    settle(session, job)


def cancelled(
    session: Session,
    job_id: str,
    token: int | None,
    *,
    metrics: Mapping[str, float] | None = None,
    reached: Reached = NOTHING_NEW,
) -> None:
    """Cancels the job once its device has stopped. Finished cells stay."""
    lock_ending(session, [job_id], fails=True)
    job = _end(session, job_id, token, State.CANCELLED, {}, reached, _measured(metrics or {}))
    charge(session, job, (metrics or {}).get("device_seconds", 0))
    error = as_error("cancelled", f"It was cancelled by {job.cancelled_by or 'an operator'}.")
    kind_named(job.kind).failed(session, job, error)
    settle(session, job)


def requeue(  # noqa: PLR0913 - the values of the row and of its event, each by name
    session: Session,
    job_id: str,
    token: int,
    event: str,
    reason: JsonObject,
    *,
    delay: float = 0,
    metrics: Mapping[str, float] | None = None,
    reached: Reached = NOTHING_NEW,
) -> None:
    """Returns the job to the queue and counts no loss: after a yield, a drain, or a transient outside error (then it waits `delay` seconds)."""
    job = transition(
        session, job_id, [State.RUNNING], State.QUEUED, token=token, event=event, data=reason, before=reached.events,
        values={
            **reached.values, "queued_at": func.now(), "phase": "queued",
            "not_before": ahead(seconds=delay) if delay else None, **_RELEASED,
            **_measured(metrics or {}),
        },
    )  # fmt: skip
    charge(session, job, (metrics or {}).get("device_seconds", 0))
    ring_after_commit(session, job.job_class)


def still_held(session: Session, job_id: str, token: int) -> Job | None:
    """Returns the job, locked for `lose` or `fail`, if it is still held under this lease; otherwise None."""
    lock_ending(session, [job_id], fails=True)
    job = session.get(Job, job_id, populate_existing=True)
    return job if job is not None and job.lease_token == token and job.state in HELD else None


def lose(session: Session, job: Job, cause: JsonObject, *, max_losses: int, charged: bool = True) -> None:
    """Handles a lost worker: returns the job to the queue, or fails it after `max_losses` losses in a row without a new cell.

    After so many losses the job is assumed to crash its workers. `charged=False` counts neither the loss nor the device time, for example after
    a database outage.
    A job in state `cancelling` becomes cancelled: its device has stopped.
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
        data={**cause, "worker": job.worker_id, "losses": losses},
        values={"losses": losses, "queued_at": func.now(), "phase": "queued", **_RELEASED, **_measured(used)},
    )  # fmt: skip
    charge(session, job, used.get("device_seconds", 0))
    ring_after_commit(session, job.job_class)


def _held_for(session: Session, job: Job) -> float:
    """Returns the seconds for which a lost attempt held its device, by the database's clock: at most until its lease expired."""
    lasted = func.least(func.now(), job.lease_expires_at) - job.started_at
    return float(session.scalar(select(func.greatest(func.extract("epoch", lasted), 0))) or 0)


def _end(
    session: Session,
    job_id: str,
    token: int | None,
    target: State,
    data: EventData,
    reached: Reached,
    values: Changes,
) -> Job:
    """Moves a held job to its final state, releases its worker, and writes unwritten progress; `values` take precedence."""
    return transition(
        session, job_id, [State.RUNNING, State.CANCELLING], target, token=token, event=target.value, data=data, before=reached.events,
        values={"finished_at": func.now(), **reached.values, "phase": target.value, **_RELEASED, **values},
    )  # fmt: skip


def _measured(metrics: Mapping[str, float]) -> Changes:
    """Returns column updates for the resources an attempt used: device seconds add up over attempts, peak memory is the maximum."""
    if not metrics:
        return {}
    rest = {key: value for key, value in metrics.items() if key not in ("device_seconds", "peak_bytes")}
    return {
        "device_seconds": Job.device_seconds + metrics.get("device_seconds", 0),
        "peak_bytes": text("greatest(jobs.peak_bytes, :peak)").bindparams(peak=metrics.get("peak_bytes", 0)),
        **({"metrics": rest} if rest else {}),
    }
