"""Operations of the API on jobs. Functions run in the caller's transaction and raise Problem for invalid requests."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.auth.repository import groups_of
from app.auth.sharing import Sharing, check, require_management
from app.auth.viewer import Viewer
from app.bell import ring_after_commit
from app.db import Rows
from app.errors import Problem, not_found
from app.ids import new_id
from app.jobs import edges, repository
from app.jobs.births import born, row_of
from app.jobs.holding import Reads, hold, reads_of
from app.jobs.kinds import kind_named
from app.jobs.locks import lock_ending
from app.jobs.models import IdempotencyKey, Job, JobEvent, OwnerTurn
from app.jobs.planned import planned
from app.jobs.references import check as check_references
from app.jobs.renewal import renewed, with_names
from app.jobs.repository import JobFilters, Warned
from app.jobs.specs import as_json
from app.jobs.states import FINISHED, State
from app.jobs.submission import Asker, Idempotency, Submission, Submitted
from app.jobs.transitions import Changes, transition
from app.jobs.turns import SHORT
from app.quotas.admission import check_at_commit
from app.webhooks import naming as webhooks


def submit(session: Session, submission: Submission) -> Submitted:
    """Creates the job, its edges and its idempotency key in one transaction; the commit checks the owner's quotas (Problem 429).

    In a transaction that plans (`app.jobs.planned`), everything is checked and the job is kept in the plan instead.
    A concurrent request under the same key waits on the key's unique index until the first commits, and then gets the job of the first.

    Raises Problem 422: `unknown_webhook`, `idempotency_key_reused` for the same key with another body, `not_in_group` for a group without the
    caller. Raises Problem 409 `idempotency_key_busy` when the first request does not finish within 2 s.
    """
    job_id = new_id("job")
    if submission.idempotency is not None:
        earlier = _remember(session, submission.owner, submission.idempotency, job_id)
        if earlier is not None:
            return Submitted(earlier, replayed=True)
    plan = planned(session)
    check(session, submission.owner, submission.sharing, keep=plan is None)
    webhooks.check_usable(session, submission.webhook)
    kind = kind_named(submission.kind)
    for lane in [SHORT, submission.job_class] if kind.short else [submission.job_class]:
        if plan is None:
            _give_a_turn(session, submission.owner, lane)
    waiting = edges.unmet(session, submission.after, _sight(submission), lock=plan is None) if submission.after else []
    if plan is None:
        _hold(session, submission)
    row = row_of(job_id, submission, waiting=len(waiting))
    if plan is not None:
        plan[job_id] = Job(**row)
        return Submitted(plan[job_id])
    job = born(session, row, submission.after, submission.warnings)
    if not waiting:
        ring_after_commit(session, job.job_class)
    if not submission.unmetered:
        check_at_commit(session, job.owner)
    return Submitted(job)


def _sight(submission: Submission) -> ColumnElement[bool]:
    """Returns the condition on the jobs that the job may come after."""
    return Job.owner == submission.owner if submission.viewer is None else repository.usable(submission.viewer)


READ_JOBS_ALONE = ("export", "report")
"""Kinds of jobs that read only jobs: traits and models in their specs only say what the job is about."""


def _hold(session: Session, submission: Submission) -> None:
    """Protects everything that the job refers to from deletion. A report does not need the results of every node."""
    reads = reads_of(as_json(submission.spec), submission.model if submission.job_class == "model" else None)
    if submission.kind in READ_JOBS_ALONE:
        reads = Reads(jobs=reads.jobs)
    others = [edge.job for edge in submission.after] + ([] if submission.retry_of is None else [submission.retry_of])
    hold(session, reads, present=others, results=submission.kind != "report")


def _give_a_turn(session: Session, owner: str, lane: str) -> None:
    """Inserts the owner's fair-share row for this lane if it is missing.

    Looks before it inserts, because an insert waits for any transaction that is updating the row, even when the row exists. Rows are never
    deleted, so a row seen once is not looked up again (`known`, kept by the process in its sessions' info).
    """
    known: set[tuple[str, str]] = session.info.get("turns", set())
    if (owner, lane) in known:
        return
    if session.get(OwnerTurn, (owner, lane)) is None:
        session.execute(insert(OwnerTurn).values(owner=owner, lane=lane).on_conflict_do_nothing())
    else:
        known.add((owner, lane))


def _remember(session: Session, owner: str, wanted: Idempotency, job_id: str) -> Job | None:
    """Inserts the idempotency key and returns None, or returns the job of an existing key. The foreign key is checked at commit, so the key
    may be inserted first.
    """
    session.execute(text("SET LOCAL lock_timeout = '2s'"))
    key = {"owner": owner, "route": wanted.route, "key": wanted.key}
    inserted = session.execute(
        insert(IdempotencyKey)
        .values(**key, body_hash=wanted.body_hash, job_id=job_id)
        .on_conflict_do_nothing()
        .returning(IdempotencyKey.job_id)
    ).one_or_none()
    # waiting on any other lock does not mean that a request with the same key is running
    session.execute(text("SET LOCAL lock_timeout = 0"))
    return promised(session, owner, wanted) if inserted is None else None


def promised(session: Session, owner: str, wanted: Idempotency) -> Job | None:
    """Returns the job made earlier under this key, or None. Raises Problem 422 `idempotency_key_reused` when the earlier body was different."""
    row = session.get(IdempotencyKey, (owner, wanted.route, wanted.key))
    job = None if row is None else session.get(Job, row.job_id)  # deleting a job also deletes its key
    if row is None or job is None:
        return None
    if row.body_hash != wanted.body_hash:
        detail = f"Idempotency-Key {wanted.key!r} was already used for a different body (job {row.job_id}). Use a new key for a new request."
        raise Problem(422, "idempotency_key_reused", detail)
    return job


def find(session: Session, job_id: str, viewer: Viewer) -> Job:
    """Returns the job. Raises Problem 404, also for jobs that the caller may not see."""
    job = repository.find(session, job_id, viewer)
    if job is None:
        raise not_found("job", job_id)
    return job


def managed(session: Session, job_id: str, viewer: Viewer) -> Job:
    """Returns a job that the caller may change. Raises Problem 404 for a job the caller may not see, 403 for another user's job."""
    job = find(session, job_id, viewer)
    require_management(viewer, job.owner, job_id)
    return job


def reread(session: Session, job: Job, *, lock: bool = False) -> None:
    """Reads the job again; `lock` prevents changes by others until the transaction ends. Raises Problem 404 if it was deleted meanwhile."""
    job_id = job.id
    try:
        session.refresh(job, with_for_update={"key_share": True} if lock else None)
    except InvalidRequestError:
        raise not_found("job", job_id) from None


def listing(
    session: Rows, viewer: Viewer, filters: JobFilters, *, limit: int, before: tuple[datetime, str] | None = None
) -> list[Warned]:
    """Returns a page of jobs, newest first."""
    return repository.listing(session, viewer, filters, limit=limit, before=before)


def events(session: Session, job_id: str, viewer: Viewer, after_seq: int, limit: int) -> Sequence[JobEvent]:
    """Returns the job's events after an event number. Raises Problem 404."""
    find(session, job_id, viewer)
    return repository.events(session, job_id, after_seq, limit)


def cancel(session: Session, job_id: str, viewer: Viewer) -> Job:
    """Cancels a job: a queued job at once, a running job when its device has stopped. Does not need the broker.

    Raises Problem 403 and 404, and 409 when the job has ended in another state.
    """
    job = managed(session, job_id, viewer)
    if job.state not in FINISHED and kind_named(job.kind).cancelled(session, job, viewer):
        note_other(session, viewer, job, "job.cancel")
        return job
    lock_ending(session, [job.id], fails=True)
    reread(session, job)
    if job.state in (State.CANCELLING, State.CANCELLED):
        return job
    if job.state in FINISHED:
        raise Problem(409, "job_finished", f"{job_id} has ended ({job.state}); only a queued or running job can be cancelled.")
    note_other(session, viewer, job, "job.cancel")
    asked: Changes = {"cancel_requested_at": func.now(), "cancelled_by": viewer.owner}
    if job.state == State.RUNNING:
        return transition(
            session, job_id, [State.RUNNING], State.CANCELLING, event="cancel_requested", data={"by": viewer.owner}, values=asked
        )
    return _cancel_queued(session, job_id, viewer, asked)


def _cancel_queued(session: Session, job_id: str, viewer: Viewer, asked: Changes) -> Job:
    job = transition(
        session, job_id, [State.QUEUED], State.CANCELLED, event="cancelled", data={"by": viewer.owner},
        values={"finished_at": func.now(), "phase": "cancelled", **asked},
    )  # fmt: skip
    kind_named(job.kind).failed(session, job, {"code": "cancelled", "detail": f"It was cancelled by {viewer.owner}."})
    edges.settle(session, job)
    return job


def retry(session: Session, asker: Asker, job_id: str) -> Submitted:
    """Submits a new job with the same spec, owned by the caller. The old job is not changed.

    Raises Problem 403 and 404, and 409 unless the job failed or was cancelled and the caller may use everything it reads.
    """
    viewer = asker.viewer
    old = managed(session, job_id, viewer)
    earlier = None if asker.promise is None else promised(session, viewer.owner, asker.promise)
    if earlier is not None:
        return Submitted(earlier, replayed=True)
    made = kind_named(old.kind).retried(session, old, asker)
    if made is not None:
        return made
    if old.state not in (State.FAILED, State.CANCELLED):
        raise Problem(409, "job_not_retryable", f"{job_id} is {old.state}; only a failed or cancelled job can be retried.")
    made = again(session, asker, old, kept_sharing(session, old, viewer))
    if not made.replayed:
        note_other(session, viewer, old, "job.retry", made=made.job.id)
    return made


def retries_a_graph(session: Session, job_id: str, viewer: Viewer) -> bool:
    """Returns whether retrying the job plans a graph of jobs. Raises Problem 404."""
    return kind_named(find(session, job_id, viewer).kind).retries_a_graph


def note_other(session: Session, viewer: Viewer, job: Job, action: str, **details: Any) -> None:
    """Records an action on another user's job in the audit log."""
    if viewer.owner != job.owner:
        audit.record(session, viewer, action, job.id, owner=job.owner, **details)


def kept_sharing(session: Session, old: Job, viewer: Viewer) -> Sharing:
    """Returns the job's sharing if the caller may share with its group; otherwise private."""
    if old.visibility == "group" and old.group_name not in groups_of(session, [viewer.owner])[viewer.owner]:
        return Sharing()
    return Sharing(visibility=old.visibility, group=old.group_name)


def again(session: Session, asker: Asker, old: Job, to: Sharing, renamed: Mapping[str, str] | None = None) -> Submitted:
    """Submits a new job with the spec and edges of `old`, owned by the caller. `renamed` maps old job ids in the spec to their replacements;
    a needed job that ended without success is replaced as in `app.jobs.renewal`.

    Raises Problem 409 when the caller may no longer use something that the spec refers to, 422 when a job that it needs cannot succeed.
    """
    viewer = asker.viewer
    after, names = renewed(session, old, viewer, renamed)
    spec = with_names(old.spec, names)
    check_references(session, viewer, old.id, spec, [edge.job for edge in after], kind_named(old.kind).inherited)
    submission = Submission(
        kind=old.kind, spec=spec, owner=viewer.owner, viewer=viewer, model=old.model, job_class=old.job_class, after=after,
        name=old.name, tags=old.tags, notes=old.notes, webhook=webhooks.usable(session, old.webhook),
        priority=old.priority, max_seconds=old.max_seconds,
        stall_seconds=old.stall_seconds, request_id=asker.request_id, retry_of=old.id,
        idempotency=asker.promise, sharing=to, warnings=repository.warnings(session, [old.id]).get(old.id, ()),
    )  # fmt: skip
    return submit(session, submission)
