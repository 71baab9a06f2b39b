"""Submits, finds and shows calibrations. Functions run in the caller's transaction and raise Problem for invalid requests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.calibrations import limits, repository
from app.calibrations.models import Calibration
from app.calibrations.results import CalibrationOut, CostOut, view
from app.calibrations.schemas import CalibrationRequest
from app.errors import Problem, invalid, not_found
from app.jobs import repository as job_repository
from app.jobs.absence import absent
from app.jobs.estimates import seconds_for
from app.jobs.labels import Labels, labels_of
from app.jobs.models import Artifact
from app.jobs.planned import planned_job
from app.jobs.prompts import shortest
from app.jobs.schemas import Edge, JobRequest
from app.jobs.submission import Asker
from app.jobs.submitting import (
    Answer,
    Placed,
    Plan,
    answer,
    check_admissible,
    edges_of,
    promised,
    submitted,
    with_edge,
)
from app.models import service as models
from app.models.layers import layers_of
from app.models.models import Model
from app.models.reading import reading_of
from app.models.running import check_fits, running
from app.quotas.admission import admission
from app.text import check_text
from binnacle.words.massive import SCHEMA_VERSION
from terms.specs import CalibrationSpec


def plan(session: Session, asker: Asker, request: CalibrationRequest) -> Plan:
    """Returns the plan of a request after every check that is possible without loading the model. Raises Problem 422."""
    check_text(request.model_dump(mode="json"))
    limits.check_size(request, asker.settings.limit)
    model = models.usable(session, request.model)
    limits.check_model(request, model.facts if model.state == "ready" else {})
    check_fits(session, model, request.max_new_tokens)
    after = edges_of(session, request, asker.viewer, model.awaited)
    return Plan("calibrate", "model", request.model, _spec(request, model), after)


def _spec(request: CalibrationRequest, model: Model) -> CalibrationSpec:
    """Returns everything that the result depends on, in canonical form: equal specs mean the same calculation."""
    known = model.facts if model.state == "ready" else {}
    spec: CalibrationSpec = {
        "special_tokens": request.special_tokens,
        "model": request.model,
        "experiment": request.experiment,
        "prompts": None if request.prompts is None else [shortest(prompt) for prompt in request.prompts],
        "layers": layers_of(request.layers, request.model, known),
        "max_new_tokens": request.max_new_tokens,
        "rule": request.rule,
        "kind": "calibrate",
        "schema_version": SCHEMA_VERSION,
        "weight_hash": known.get("weight_hash"),
        "reading_hash": reading_of(model),
    }
    if request.model_variant is not None:  # otherwise the handler chooses, as for specs older than this field
        spec["model_variant"] = request.model_variant
    return spec


def estimate(session: Session, asker: Asker, request: CalibrationRequest) -> CostOut:
    """Returns what the request would cost; writes nothing. Raises Problem as `submit` does."""
    planned = plan(session, asker, request)
    check_admissible(session, request, planned.after, asker.viewer)
    prompts = limits.prompt_count(request)
    tokens = prompts * request.max_new_tokens
    return CostOut(
        **running(session, models.usable(session, request.model), request.max_new_tokens),
        spec=planned.spec,
        prompts=prompts,
        max_new_tokens=request.max_new_tokens,
        generated_tokens=tokens,
        arithmetic=limits.arithmetic(request),
        limit=asker.settings.limit.tokens,
        estimated_seconds=seconds_for(repository.tokens_and_seconds(session, request.model), tokens),
        waits_for=[edge.job for edge in planned.after],
        admission=admission(session, asker.viewer.owner, jobs=1),
    )


def submit(session: Session, asker: Asker, request: CalibrationRequest, reuse: bool = False) -> Answer:
    """Submits the request and returns the job as the API shows it, in one transaction."""
    return answer(session, asker, place(session, asker, request, reuse))


def place(session: Session, asker: Asker, request: CalibrationRequest, reuse: bool = False) -> Placed:
    """Submits the request and returns its job's row. If the idempotency key was used before, returns the earlier job without checking again."""
    earlier = promised(session, asker)
    if earlier is not None:
        return earlier
    return submitted(session, asker, plan(session, asker, request), request, reuse=reuse)


def for_model(session: Session, asker: Asker, like: JobRequest, requested: str | None, model: Model) -> tuple[str, bool]:
    """Returns the job of the calibration to use for a model, and whether the job that needs it must wait for it.

    Uses the calibration `requested`, named by its own id or its job's id; else the newest finished calibration of these weights that the caller
    may read. Otherwise submits a calibration with the visibility and priority of `like`, the request that needs it.
    Raises Problem 422 if the requested calibration is unknown or belongs to another model or to other weights.
    """
    existing = _existing(session, requested, model, asker.viewer)
    if existing is not None:
        return existing
    asked = _made_like(like, model)
    with _not_of_the_request(asker, asked):
        made = place(session, asker.for_another_job(), asked)
    return made.job.id, True


def after_for_model(
    session: Session, asker: Asker, like: JobRequest, requested: str | None, model: Model, after: list[Edge]
) -> tuple[list[Edge], int]:
    """Returns the edges `after` with the edge to the calibration, if one is needed, and the number of jobs that `for_model` would make.

    A dry run of `for_model`; raises the same Problems.
    """
    existing = _existing(session, requested, model, asker.viewer)
    if existing is None:
        asked = _made_like(like, model)
        with _not_of_the_request(asker, asked):
            plan(session, asker, asked)
        return after, 1
    job, wait = existing
    return with_edge(after, job) if wait else after, 0


def finished_of(session: Session, model: Model, viewer: Viewer) -> str | None:
    """Returns the job of the newest finished calibration of the model's weights that the viewer may read, if there is one."""
    newest = _newest(session, model, viewer)
    return None if newest is None else newest.job_id


def _made_like(like: JobRequest, model: Model) -> CalibrationRequest:
    return CalibrationRequest(model=model.name, visibility=like.visibility, group=like.group, priority=like.priority)


@contextmanager
def _not_of_the_request(asker: Asker, asked: CalibrationRequest) -> Iterator[None]:
    """Returns a context that explains refusals of the length of answers: it is that of the calibration `asked`, not the request's."""
    try:
        yield
    except Problem as problem:
        if not any(error["pointer"] == "/max_new_tokens" for error in problem.errors):
            raise
        over = problem.code == "token_budget_exceeded"
        said = limits.over_budget(asked, asker.settings.limit) if over else problem.detail
        detail = (
            f"{asked.model} has no calibration yet, and the one that would be made for this request is refused: {said} "
            "Make a calibration with shorter answers first (POST /v1/calibrations with /max_new_tokens)."
        )
        raise invalid("/calibration", problem.code, detail) from problem


def _existing(session: Session, requested: str | None, model: Model, viewer: Viewer) -> tuple[str, bool] | None:
    """Returns the job of an existing calibration and whether to wait for it; None if a calibration must be submitted."""
    if requested is not None:
        return _requested(session, requested, model, _weights(model), viewer)
    newest = _newest(session, model, viewer)
    return None if newest is None else (newest.job_id, False)


def _newest(session: Session, model: Model, viewer: Viewer) -> Calibration | None:
    weights, reading = _weights(model), reading_of(model)
    return None if weights is None or reading is None else repository.newest(session, viewer, model.name, weights, reading)


def _weights(model: Model) -> str | None:
    return model.facts.get("weight_hash") if model.state == "ready" else None


def _requested(session: Session, requested: str, model: Model, weights: str | None, viewer: Viewer) -> tuple[str, bool]:
    """Returns the job of the calibration with this id or job id, and whether to wait for it: not for a finished calibration."""
    pair = None if planned_job(session, requested) else repository.find(session, requested, viewer)
    if pair is not None:
        row, _ = pair
        if row.model != model.name or (weights is not None and row.weight_hash != weights):
            what = f"of {row.model}" if row.model != model.name else "for other weights: the model's files have changed since"
            raise invalid(
                "/calibration",
                "calibration_of_another_model",
                f"{requested} is {what}. Massive dims belong to one model's weights: name a calibration of {model.name}, or leave the "
                "field out.",
            )
        return row.job_id, False
    job = job_repository.find(session, requested, viewer) if requested.startswith("job_") else None
    if job is None or job.kind != "calibrate":
        raise invalid("/calibration", "unknown_calibration", f"There is no calibration {requested} that you may see.")
    if job.model != model.name:
        raise invalid("/calibration", "calibration_of_another_model", f"{requested} calibrates {job.model}, not {model.name}.")
    return job.id, True


def find(session: Session, identifier: str, viewer: Viewer) -> CalibrationOut:
    """Finds a calibration by its own id or its job's id. Raises Problem 404, 409."""
    pair = repository.find(session, identifier, viewer)
    if pair is None:
        raise absent(session, "calibration", identifier, viewer, "calibrate")
    row, model = pair
    return view(row, model, labels_of(session, [row.job_id])[row.job_id])


def named(session: Session, identifiers: Sequence[str], viewer: Viewer) -> dict[str, CalibrationOut]:
    """Finds calibrations by their own ids or their jobs' ids, in two statements; returns each under both ids. Others are missing."""
    rows = repository.named(session, identifiers, viewer)
    labels_by_job = labels_of(session, [row.job_id for row, _ in rows])
    shown = [view(row, model, labels_by_job[row.job_id]) for row, model in rows]
    return {calibration.id: calibration for calibration in shown} | {calibration.job: calibration for calibration in shown}


def listing(
    session: Session, viewer: Viewer, *, model: str | None, labels: Labels, limit: int, before: tuple[datetime, str] | None
) -> Sequence[CalibrationOut]:
    """Returns a page of calibrations, newest first."""
    rows = repository.listing(session, viewer, model=model, labels=labels, limit=limit, before=before)
    labels_by_job = labels_of(session, [row.job_id for row, _ in rows])
    return [view(row, model_row, labels_by_job[row.job_id]) for row, model_row in rows]


def file(session: Session, identifier: str, viewer: Viewer) -> Artifact:
    """Returns the stored file `calibration.json` of a calibration. Raises Problem 404, 409."""
    artifact = job_repository.artifact(session, find(session, identifier, viewer).job, "calibration.json")
    if artifact is None:
        raise not_found("calibration", identifier)
    return artifact
