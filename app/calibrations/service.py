"""What the API does to calibrations. Each function works in its caller's transaction and raises Problem for what the caller did wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.calibrations import limits, repository
from app.calibrations.results import CalibrationOut, CostOut, view
from app.calibrations.schemas import CalibrationRequest
from app.errors import invalid, not_found
from app.jobs import repository as job_repository
from app.jobs import service as jobs
from app.jobs.models import Artifact, Job
from app.jobs.schemas import Edge, JobOut
from app.jobs.service import Idempotency
from app.jobs.views import views
from app.models import service as models
from app.models.models import Model
from app.settings import Settings
from app.text import check_text

ABOUT_THE_JOB = {"name", "tags", "notes", "priority", "after"}
"""Fields that say nothing about what is calculated: they belong to the Job and not to its spec."""


@dataclass(frozen=True)
class Plan:
    """A request found possible: what will be calculated, and after what."""

    request: CalibrationRequest
    spec: dict[str, Any]
    after: list[Edge]


@dataclass(frozen=True)
class Answer:
    """The job, and how it came about: made now, made earlier under the same key, or finished earlier with the same spec."""

    job: JobOut
    replayed: bool = False
    reused: bool = False


def plan(session: Session, request: CalibrationRequest, viewer: Viewer, settings: Settings) -> Plan:
    """Everything that can be checked before a model is loaded. Raises Problem 422."""
    check_text(request.model_dump(mode="json"))
    limits.check_size(request, settings.limit)
    model = models.usable(session, request.model)
    limits.check_model(request, model.facts if model.state == "ready" else {})
    after = list(request.after)
    for i, edge in enumerate(after):
        if job_repository.find(session, edge.job, viewer) is None:
            raise invalid(f"/after/{i}/job", "unknown_job", f"There is no job {edge.job} that you may see.")
    if model.state == "inspecting" and model.inspect_job is not None and all(edge.job != model.inspect_job for edge in after):
        after.append(Edge(job=model.inspect_job, needs="success"))
    return Plan(request, _spec(request, model), after)


def _spec(request: CalibrationRequest, model: Model) -> dict[str, Any]:
    """All that the result depends on, written in one way: equal specs mean the same calculation."""
    spec = request.model_dump(mode="json", exclude=ABOUT_THE_JOB)
    known = model.facts if model.state == "ready" else {}
    if request.layers is not None:
        layers = sorted(request.layers)
        spec["layers"] = None if layers == list(range(known.get("layers", -1))) else layers
    return {**spec, "kind": "calibrate", "weight_hash": known.get("weight_hash")}


def estimate(session: Session, request: CalibrationRequest, viewer: Viewer, settings: Settings) -> CostOut:
    """What the request would cost; writes nothing."""
    planned = plan(session, request, viewer, settings)
    prompts = limits.prompt_count(request)
    tokens = prompts * request.max_new_tokens
    each = repository.seconds_per_token(session, request.model)
    return CostOut(
        spec=planned.spec,
        prompts=prompts,
        max_new_tokens=request.max_new_tokens,
        generated_tokens=tokens,
        arithmetic=limits.arithmetic(request),
        limit=settings.limit.tokens,
        estimated_seconds=None if each is None else round(each * tokens, 1),
        waits_for=[edge.job for edge in planned.after],
    )


def submit(
    session: Session,
    request: CalibrationRequest,
    viewer: Viewer,
    settings: Settings,
    promise: Idempotency | None,
    request_id: str,
    reuse: bool,
) -> Answer:
    """The job for this request, in one transaction. A replayed key answers without checking anew: what was possible then was accepted."""
    earlier = None if promise is None else jobs.promised(session, viewer.owner, promise)
    if earlier is not None:
        return Answer(_shown(session, earlier, settings), replayed=True)
    planned = plan(session, request, viewer, settings)
    if reuse and planned.spec["weight_hash"] is not None:
        finished = jobs.find_reusable(session, "calibrate", planned.spec, viewer)
        if finished is not None:
            return Answer(_shown(session, finished, settings), reused=True)
    submission = jobs.Submission(
        kind="calibrate", spec=planned.spec, owner=viewer.owner, model=request.model, job_class="model", after=planned.after,
        after_any_owner=True, name=request.name, tags=request.tags, notes=request.notes, priority=request.priority,
        max_seconds=settings.limit.job_seconds, stall_seconds=settings.lease.stall, request_id=request_id, idempotency=promise,
    )  # fmt: skip
    made = jobs.submit(session, submission)
    return Answer(_shown(session, made.job, settings), replayed=made.replayed)


def _shown(session: Session, job: Job, settings: Settings) -> JobOut:
    return views(session, [job], slice_seconds=settings.lease.slice)[0]


def find(session: Session, identifier: str, viewer: Viewer) -> CalibrationOut:
    """By its own id or its job's. Raises Problem 404."""
    found = repository.find(session, identifier, viewer)
    if found is None:
        raise not_found("calibration", identifier)
    return view(found)


def listing(
    session: Session, viewer: Viewer, *, model: str | None, limit: int, before: tuple[datetime, str] | None
) -> Sequence[CalibrationOut]:
    """A page of calibrations, newest first."""
    return [view(found) for found in repository.listing(session, viewer, model=model, limit=limit, before=before)]


def file(session: Session, identifier: str, viewer: Viewer) -> Artifact:
    """The calibration's `calibration.json`. Raises Problem 404."""
    artifact = job_repository.artifact(session, find(session, identifier, viewer).job, "calibration.json")
    if artifact is None:
        raise not_found("calibration", identifier)
    return artifact
