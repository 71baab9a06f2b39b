"""Submits, finds and shows steerings. Functions run in the caller's transaction and raise Problem for invalid requests."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.calibrations import service as calibrations
from app.errors import not_found
from app.extractions import service as extractions
from app.extractions.schemas import ExtractionRequest
from app.jobs import repository as job_repository
from app.jobs.absence import absent
from app.jobs.estimates import seconds_for
from app.jobs.models import Artifact
from app.jobs.schemas import Edge
from app.jobs.specs import MAKE_STEERINGS, extraction_spec
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
from app.models import repository as model_repository
from app.models.models import Model
from app.models.running import running
from app.quotas.admission import admission
from app.settled import asked_once
from app.steerings import limits, repository
from app.steerings.checking import check
from app.steerings.extracted import Made
from app.steerings.models import Steering
from app.steerings.results import SteeringCost, SteeringOut, view
from app.steerings.schemas import SteeringRequest
from terms.specs import ExtractionSpec, SteeringSpec


def plan(session: Session, asker: Asker, request: SteeringRequest) -> Plan:
    """Plans the job, after the extraction and the calibration that it needs. Raises Problem 422."""

    def make(extraction: ExtractionRequest) -> Made:
        job = extractions.place(session, asker.for_another_job(), extraction).job
        return Made(job.id, extraction_spec(job))

    checked = check(session, asker, request, make)
    after: list[Edge] = edges_of(session, request, asker.viewer, checked.model.awaited)
    made = checked.vectors.made
    shared = None if made is None else made.spec["calibration"]  # otherwise two calibrations would be submitted
    asked = request.calibration or (None if shared is None else shared["job"])
    job, wait = calibrations.for_model(session, asker, request, asked, checked.model)
    for needed in [*([job] if wait else []), *checked.waits_for]:
        after = with_edge(after, needed)
    spec: SteeringSpec = {**checked.spec, "calibration": {"job": job}}
    return Plan("steer", "model", request.model, spec, after, warnings=checked.warnings)


def estimate(session: Session, asker: Asker, request: SteeringRequest) -> SteeringCost:
    """Returns the cost of the request; writes nothing. Raises Problem like `submit`."""

    def make(extraction: ExtractionRequest) -> Made:
        return Made(None, cast(ExtractionSpec, extractions.estimate(session, asker, extraction).spec))

    checked = check(session, asker, request, make)
    after = edges_of(session, request, asker.viewer, checked.model.awaited)
    after, made = calibrations.after_for_model(session, asker, request, request.calibration, checked.model, after)
    for needed in checked.waits_for:
        after = with_edge(after, needed)
    check_admissible(session, request, after, asker.viewer)
    total, said = limits.answers(request, checked.grid)
    return SteeringCost(
        **running(session, checked.model, request.max_new_tokens),
        spec=checked.spec,
        cells=checked.grid.cells,
        answers=total,
        arithmetic="; ".join(filter(None, (said, checked.judge.arithmetic))),
        judge_answers=checked.judge.answers,
        limit=asker.settings.limit.answers,
        generated_tokens=(total + checked.judge.answers) * request.max_new_tokens,
        estimated_seconds=seconds_for(repository.answers_and_seconds(session, request.model), total),
        waits_for=checked.waits_for,
        warnings=checked.warnings,
        makes_extraction=checked.vectors.made is not None,
        admission=admission(session, asker.viewer.owner, jobs=1 + made + (checked.vectors.made is not None)),
    )


def submit(session: Session, asker: Asker, request: SteeringRequest, reuse: bool = False) -> Answer:
    """Submits the request with `place` and returns the job as the API shows it."""
    return answer(session, asker, place(session, asker, request, reuse))


def place(session: Session, asker: Asker, request: SteeringRequest, reuse: bool = False) -> Placed:
    """Submits the job for this request, and the jobs that it needs, in one transaction; returns the job's row.

    Returns an earlier job when the idempotency key was used before, and with `reuse` possibly a finished job of the same calculation.
    """
    earlier = promised(session, asker)
    if earlier is not None:
        return earlier
    with asked_once(session):
        return submitted(session, asker, plan(session, asker, request), request, reuse=reuse)


def find(session: Session, identifier: str, viewer: Viewer) -> SteeringOut:
    """Returns a steering by its own id or its job's. Raises Problem 404, 409."""
    steering = _existing(session, identifier, viewer)
    return view(steering, session.get(Model, steering.model))


def _existing(session: Session, identifier: str, viewer: Viewer) -> Steering:
    steering = repository.find(session, identifier, viewer)
    if steering is None:
        raise absent(session, "steering", identifier, viewer, *MAKE_STEERINGS)
    return steering


def listing(
    session: Session, viewer: Viewer, *, model: str | None, trait: str | None, limit: int, before: tuple[datetime, str] | None
) -> Sequence[SteeringOut]:
    """Returns a page of steerings, newest first."""
    rows = repository.listing(session, viewer, model=model, trait=trait, limit=limit, before=before)
    models_by_name = model_repository.named(session, {row.model for row in rows})
    return [view(row, models_by_name.get(row.model)) for row in rows]


def file(session: Session, identifier: str, name: str, viewer: Viewer) -> Artifact:
    """Returns a file of the steering. Raises Problem 404, 409."""
    artifact = job_repository.artifact(session, _existing(session, identifier, viewer).job_id, name)
    if artifact is None:
        raise not_found(f"{name} of steering", identifier)
    return artifact
