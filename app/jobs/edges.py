"""Dependencies between jobs: what a new job waits for, and which jobs a finished job releases or fails.

A job can be claimed when `blockers`, the number of its unmet edges, is 0. A job never waits for another job while it holds a worker.
"""

from collections import deque
from collections.abc import Sequence

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from app.bell import ring_after_commit
from app.errors import as_error, invalid
from app.jobs.kinds import kind_named
from app.jobs.models import Job, JobEdge
from app.jobs.planned import planned
from app.jobs.repository import ABOUT_MODELS, shown_to
from app.jobs.schemas import Edge
from app.jobs.states import FINISHED, State
from app.jobs.transitions import Superseded, notify, transition


def unmet(session: Session, after: Sequence[Edge], sight: ColumnElement[bool], *, lock: bool = True) -> list[Edge]:
    """Returns the edges to jobs that have not ended; with `lock`, these jobs cannot end before this transaction does.

    `sight` is the condition that the jobs must meet. Raises Problem(422) for an edge that can never be met, with its JSON pointer.
    """
    names = [edge.job for edge in after]
    plan = planned(session) or {}
    named = Job.id.in_(sorted(set(names) - plan.keys()))
    seen = select(Job.id, Job.state).where(named, sight).order_by(Job.id)
    states = {row.id: State(row.state) for row in session.execute(seen.with_for_update(read=True, of=Job) if lock else seen)}
    states |= {name: State.QUEUED for name in names if name in plan}
    waiting = []
    for i, edge in enumerate(after):
        if names.index(edge.job) != i:
            raise invalid(f"/after/{i}/job", "duplicate_edge", f"{edge.job} is named twice in /after.")
        if edge.job not in states:
            raise invalid(f"/after/{i}/job", "unknown_job", f"There is no job {edge.job} that you may see.")
        state = states[edge.job]
        if state not in FINISHED:
            waiting.append(edge)
        elif edge.needs == "success" and state != State.SUCCEEDED:
            raise invalid(
                f"/after/{i}/job",
                "dependency_failed",
                f"{edge.job} is {state} and cannot succeed. Retry it, and name its retry here.",
            )
    return waiting


def settle(session: Session, finished: Job) -> None:
    """Releases the jobs that waited for `finished` and wakes workers for them; fails the jobs that needed it to succeed if it did not, with
    what their kinds do then, and so on down the graph."""
    ended = deque([(finished, finished.error.get("detail", "") if finished.error else "")])
    while ended:
        job, why = ended.popleft()
        edges = session.execute(
            select(JobEdge.job_id, JobEdge.needs).where(JobEdge.after_id == job.id).order_by(JobEdge.job_id)
        ).all()
        for dependent, needs in edges:
            if needs == "end" or job.state == State.SUCCEEDED:
                _release(session, dependent)
            elif (failed := _fail(session, dependent, job, why)) is not None:
                ended.append(failed)


def _release(session: Session, job_id: str) -> None:
    """Removes one unmet edge of a job; the job can be claimed once no unmet edge is left.

    The progress of a waiting job is the number of edges met. Its end is not estimated: jobs of a graph differ so much in length that the pace
    of the first jobs does not predict the last ones.
    """
    row = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == State.QUEUED, Job.blockers > 0)
        .values(blockers=Job.blockers - 1, progress_done=Job.progress_done + 1)
        .returning(Job.blockers, Job.job_class)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    notify(session, job_id)
    if row is not None and row.blockers == 0:
        ring_after_commit(session, row.job_class)


def _fail(session: Session, job_id: str, cause: Job, why: str) -> tuple[Job, str] | None:
    """Fails a dependent job and returns it with the reason, without the remedy; returns None when the job had ended already.
    The error includes `why` the job it needed ended only if the dependent's owner may see that job.
    """
    row = session.execute(select(Job.owner, Job.kind).where(Job.id == job_id)).one()
    reason = f"It needed {told(cause)} {why if shown_to(session, cause, row.owner) else ''}".rstrip()
    detail = f"{reason} {remedy(cause, row.kind, managed=cause.owner == row.owner)}"
    error = as_error("dependency_failed", detail, job=cause.id, state=cause.state)
    try:
        job = transition(
            session,
            job_id,
            [State.QUEUED],
            State.FAILED,
            event="failed",
            data=error,
            values={"error": error, "finished_at": cause.finished_at, "phase": State.FAILED.value},
        )
    except Superseded:
        return None
    kind_named(job.kind).failed(session, job, error)
    return job, reason


def told(ended: Job) -> str:
    """Names a job that ended without success, with its kind and how it ended."""
    return f"{ended.id} ({ended.kind}), which {'failed' if ended.state == State.FAILED else 'was cancelled'}."


def remedy(cause: Job, kind: str, *, managed: bool) -> str:
    """Returns what to do about a job of this `kind` that needed `cause`, which did not succeed. `managed`: the reader may retry `cause`."""
    if cause.kind in ABOUT_MODELS and kind not in ABOUT_MODELS:
        return f"Once the model {cause.model} is ready (an administrator can inspect it again), retry this job."
    return (
        f"Retry {cause.id} first, then this job." if managed else f"Ask the owner of {cause.id} to retry it, then retry this job."
    )
