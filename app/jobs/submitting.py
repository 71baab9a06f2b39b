"""Steps that every domain's submission shares: fields outside the calculation, checks of edges, reuse, and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.auth.sharing import Sharing, check
from app.auth.viewer import Viewer
from app.errors import invalid
from app.ids import id_of
from app.jobs import edges, repository
from app.jobs import service as jobs
from app.jobs.models import Job
from app.jobs.reuse import find_reusable
from app.jobs.schemas import Edge, JobOut, JobRequest
from app.jobs.submission import MOST_WARNINGS, Asker, Submission
from app.jobs.views import view
from app.webhooks import naming as webhooks
from app.webhooks.outbox import announce_to
from terms.specs import Spec
from terms.values import JsonObject

ABOUT_THE_JOB = set(JobRequest.model_fields)
"""Fields that do not affect the calculation: they belong to the Job and not to its spec."""


@dataclass(frozen=True)
class Answer:
    """A job, and how it was obtained: created now, created earlier under the same key, or finished earlier with the same spec."""

    job: JobOut
    replayed: bool = False
    reused: bool = False


@dataclass(frozen=True)
class Placed:
    """An answer with the job's row, as a graph of jobs needs it for each node. `warnings` belong to a job created now."""

    job: Job
    replayed: bool = False
    reused: bool = False
    warnings: Sequence[str] | None = None


@dataclass(frozen=True)
class Plan:
    """A valid request: the spec to calculate, the edges, and the finished job to use instead, if any."""

    kind: str
    job_class: str
    model: str
    spec: Spec | JsonObject
    after: list[Edge]
    retry_of: str | None = None
    warnings: Sequence[str] = ()


def edges_of(session: Session, request: JobRequest, viewer: Viewer, awaited: str | None) -> list[Edge]:
    """Returns the requested edges, plus an edge to `awaited`: the proofs of a model that is not usable yet."""
    after = check_edges(session, request, viewer)
    return after if awaited is None else with_edge(after, awaited)


def check_edges(session: Session, request: JobRequest, viewer: Viewer) -> list[Edge]:
    """Returns the requested edges. Raises Problem 422 for jobs that the caller may not see."""
    for i, edge in enumerate(request.after):
        if repository.find(session, edge.job, viewer) is None:
            raise invalid(f"/after/{i}/job", "unknown_job", f"There is no job {edge.job} that you may see.")
    return list(request.after)


def check_admissible(session: Session, request: JobRequest, after: Sequence[Edge], viewer: Viewer) -> None:
    """Checks a dry run: raises Problem 422 wherever `jobs.submit` would refuse the request. Creates and locks nothing."""
    check(session, viewer.owner, sharing_of(request), keep=False)
    webhooks.check_usable(session, request.webhook)
    if after:
        edges.unmet(session, after, repository.usable(viewer), lock=False)


def with_edge(after: Sequence[Edge], job: str) -> list[Edge]:
    """Returns the edges with one that needs the success of `job`; it takes the place of an edge that needs only its end."""
    needed = Edge(job=job, needs="success")
    if any(edge.job == job for edge in after):
        return [needed if edge.job == job else edge for edge in after]
    return [*after, needed]


def promised(session: Session, asker: Asker) -> Placed | None:
    """Returns the job of an earlier request under the same key, or None. A repeated request is not checked again: its first check counts."""
    earlier = None if asker.promise is None else jobs.promised(session, asker.viewer.owner, asker.promise)
    return None if earlier is None else Placed(earlier, replayed=True)


def submitted(session: Session, asker: Asker, plan: Plan, request: JobRequest, *, reuse: bool = False) -> Placed:
    """Submits the job of a plan; with `reuse`, may return a finished job of the same calculation that the caller may read."""
    viewer, settings = asker.viewer, asker.settings
    if reuse:
        check_admissible(session, request, plan.after, viewer)
        finished = find_reusable(session, plan.kind, plan.spec, viewer)
        if finished is not None:
            return reused(session, asker, request, finished)
    submission = Submission(
        kind=plan.kind, spec=plan.spec, owner=viewer.owner, model=plan.model, job_class=plan.job_class, after=plan.after,
        viewer=viewer, name=request.name, tags=request.tags, notes=request.notes, webhook=request.webhook, priority=request.priority,
        max_seconds=settings.limit.job_seconds, stall_seconds=settings.lease.stall, request_id=asker.request_id, idempotency=asker.promise,
        retry_of=plan.retry_of, sharing=sharing_of(request), warnings=plan.warnings,
    )  # fmt: skip
    made = jobs.submit(session, submission)
    return Placed(made.job, replayed=made.replayed, warnings=None if made.replayed else plan.warnings[:MOST_WARNINGS])


def reused(session: Session, asker: Asker, request: JobRequest, finished: Job) -> Placed:
    """Returns a finished job as the answer, and sends its end to the webhook that the request named: the caller waits for that message.

    The request may be repeated under its idempotency key: the message is sent once for a key.
    """
    if request.webhook is not None:
        promise = asker.promise
        known = (
            None
            if promise is None
            else id_of("whd", asker.viewer.owner, promise.route, promise.key, promise.body_hash, finished.id)
        )
        announce_to(session, finished, request.webhook, identifier=known)
    return Placed(finished, reused=True)


def answer(session: Session, asker: Asker, placed: Placed) -> Answer:
    """Returns the answer with the job as the API shows it."""
    slice_seconds = asker.settings.lease.slice
    seen = view(session, placed.job, asker.viewer, slice_seconds=slice_seconds, warnings=placed.warnings)
    return Answer(seen, placed.replayed, placed.reused)


def retried(session: Session, asker: Asker, job_id: str) -> Answer:
    """Submits a failed or cancelled job again, as `app.jobs.service.retry`."""
    made = jobs.retry(session, asker, job_id)
    return answer(session, asker, Placed(made.job, made.replayed))


def sharing_of(request: JobRequest) -> Sharing:
    """Returns who may see the results of this request."""
    return Sharing(visibility=request.visibility, group=request.group)
