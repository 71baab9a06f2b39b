"""Submits, finds and shows steerings. Functions run in the caller's transaction and raise Problem for invalid requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy.orm import Session

from app.auth.sharing import require_management
from app.auth.viewer import Viewer
from app.calibrations import service as calibrations
from app.errors import Problem, invalid, not_found
from app.extractions import service as extractions
from app.extractions.schemas import ExtractionRequest
from app.jobs import repository as job_repository
from app.jobs.absence import absent
from app.jobs.estimates import seconds_for
from app.jobs.models import Artifact, Job
from app.jobs.planned import job_of
from app.jobs.references import check as check_references
from app.jobs.schemas import Edge
from app.jobs.specs import extraction_spec, scored_spec, steering_spec
from app.jobs.states import State
from app.jobs.submission import Asker
from app.jobs.submitting import (
    Answer,
    Placed,
    Plan,
    answer,
    check_admissible,
    check_edges,
    edges_of,
    promised,
    submitted,
    with_edge,
)
from app.judges import service as judges
from app.models import repository as model_repository
from app.models import service as models
from app.models.context import check_context
from app.models.layers import check_layers
from app.models.models import Model
from app.models.reading import reading_of
from app.models.running import check_fits, running
from app.quotas.admission import admission
from app.settings import Settings
from app.steerings import judging, limits, repository
from app.steerings.models import Steering
from app.steerings.results import SteeringCost, SteeringOut, view
from app.steerings.schemas import RescoreRequest, SteeringRequest
from app.steerings.vectors import Made, Make, Vectors, chosen, extraction_by
from app.text import check_not_blank, check_text
from app.traits import service as traits
from app.traits import suitability
from app.traits.models import Trait
from terms.specs import (
    Controls,
    ExtractionSpec,
    JudgeSpec,
    OffTargetSpec,
    OwnQuestions,
    RescoringSpec,
    RightOrWrong,
    Sampling,
    SteeringAsked,
    SteeringSpec,
)

MAKE_STEERINGS = ("steer", "rescore")
"""Kinds of jobs that leave a steering."""


@dataclass(frozen=True)
class _Checked:
    model: Model
    trait: Trait
    vectors: Vectors
    spec: SteeringAsked
    grid: limits.Grid
    waits_for: list[str]
    warnings: list[str]
    judge: judging.Preparing


def _check(session: Session, request: SteeringRequest, viewer: Viewer, settings: Settings, make: Make) -> _Checked:
    check_text(request.model_dump(mode="json"))
    model = models.usable(session, request.model)
    facts = model.facts if model.state == "ready" else {}
    trait = traits.resolve(session, request.trait, viewer)
    judge = judges.usable(session, request.judge)
    check_layers(request.layers, request.model, facts)
    check_context(request.model, facts, request.max_new_tokens)
    check_fits(session, model, request.max_new_tokens)
    _check_questions(request)
    vectors = chosen(session, request, viewer, model, trait, make)
    off_target, off_questions, waits = _off_target(session, request, viewer, model)
    grid = _grid(request, trait, vectors, off_questions)
    limits.check_size(request, grid, settings.limit)
    spec = _spec(request, trait, vectors, off_target, judge)
    spec |= {"weight_hash": facts.get("weight_hash"), "reading_hash": reading_of(model)}
    if judging.responses_given(session, vectors):
        spec["responses_given"] = True
    asked = None if request.questions is None else [one.cluster or one.question for one in request.questions.test]
    warnings = suitability.of_meeting(trait, request.model, facts) + suitability.of_questions(trait, asked, request.test_limit)
    warnings += suitability.of_judge(trait, judge) + judging.doubt(session, spec, viewer)
    price = judging.preparing(session, judge, trait, vectors, grid, request.max_new_tokens)
    waits = [*([vectors.wait_for] if vectors.wait_for else []), *waits]
    return _Checked(model, trait, vectors, spec, grid, waits, warnings, price)


def _spec(
    request: SteeringRequest, trait: Trait, vectors: Vectors, off_target: list[OffTargetSpec], judge: JudgeSpec
) -> SteeringAsked:
    """Without what waits for the model's inspection and for other jobs."""
    return {
        "kind": "steer",
        "model": request.model,
        "weight_hash": None,
        "reading_hash": None,
        "trait": {"name": trait.name, "version": trait.version},
        "vectors": list(vectors.vectors),
        "from": list(vectors.sources) or None,
        "extraction": vectors.extraction,
        "questions": None if request.questions is None else cast(OwnQuestions, request.questions.model_dump(mode="json")),
        "sampling": None if request.sampling is None else cast(Sampling, request.sampling.model_dump(mode="json")),
        "judge": judge,
        "controls": cast(Controls, request.controls.model_dump(mode="json")),
        "off_target": off_target,
        "capability": cast(list[RightOrWrong], [one.model_dump(mode="json") for one in request.capability or ()]) or None,
        "combine": request.combine,
        "operation": request.operation,
        "ablate_plain": request.ablate_plain,
        "scope": request.scope,
        "doses": request.doses,
        "coefficients": request.coefficients,
        "budget": request.budget,
        "selection_limit": request.selection_limit,
        "test_limit": request.test_limit,
        "max_new_tokens": request.max_new_tokens,
        "coherence_threshold": request.coherence_threshold,
        "matched": list(request.matched),
        "decomposition": request.decomposition,
        "extra_sets": request.extra_sets,
        "reference_protocol": request.reference_protocol,
        "seed": request.seed,
        "special_tokens": request.special_tokens,
    }


def _check_questions(request: SteeringRequest) -> None:
    """Raises Problem 422 for blank questions, and for a cluster in both sets: a dose must not be chosen on what it is reported on."""
    if request.questions is None:
        return
    seen: dict[str, int] = {}
    for name in ("selection", "test"):
        for i, one in enumerate(getattr(request.questions, name)):
            pointer = f"/questions/{name}/{i}"
            check_not_blank(one.question, pointer)
            cluster = one.cluster or one.question
            if name == "selection":
                seen.setdefault(cluster, i)
            elif cluster in seen:
                detail = (
                    f"{pointer} is of the same cluster as /questions/selection/{seen[cluster]}: a question that "
                    "chose the dose cannot measure its effect on others. Move one of the two, or leave it out."
                )
                raise invalid(pointer, "cluster_in_both_sets", detail)


def _off_target(
    session: Session, request: SteeringRequest, viewer: Viewer, model: Model
) -> tuple[list[OffTargetSpec], int, list[str]]:
    """The other traits as the spec holds them, their test questions in all, and the extractions to wait for."""
    found: list[OffTargetSpec] = []
    questions, waits = 0, list[str]()
    for i, one in enumerate(request.off_target):
        try:
            trait = traits.resolve(session, one.trait, viewer)
        except Problem as problem:
            raise invalid(f"/off_target/{i}/trait", problem.code, problem.detail) from problem
        job, given = None, False
        if one.extraction is not None:
            row, job = extraction_by(session, one.extraction, viewer, f"/off_target/{i}/extraction")
            spec = extraction_spec(job_of(session, job))
            if (spec["model"], spec["trait"]["version"]) != (model.name, trait.version):
                detail = (
                    f"{one.extraction} is of {spec['trait']['name']} on {spec['model']}, not of {trait.name} on {model.name}."
                )
                raise invalid(f"/off_target/{i}/extraction", "extraction_of_another", detail)
            given = spec.get("responses") == "given"
            waits += [] if row is not None else [job]
        asked: OffTargetSpec = {"trait": {"name": trait.name, "version": trait.version}, "extraction": job}
        if given:
            asked["responses_given"] = True
        found.append(asked)
        questions += min(trait.counts["test"], request.test_limit or trait.counts["test"])
    return found, questions, waits


def _grid(request: SteeringRequest, trait: Trait, vectors: Vectors, off_target: int) -> limits.Grid:
    own = request.questions
    asked = {name: len(getattr(own, name)) if own else trait.counts[name] for name in ("selection", "test")}
    for name, count in asked.items():
        if count == 0:
            detail = f"{trait.name} has no {name} question. Upload it with steering questions, or give /questions."
            raise invalid("/questions" if own else "/trait", "no_questions", detail)
    limited = {
        "selection": min(asked["selection"], request.selection_limit or asked["selection"]),
        "test": min(asked["test"], request.test_limit or asked["test"]),
    }
    extra = sum(trait.counts[name] for name in request.extra_sets) + len(request.capability or ())
    return limits.Grid(vectors.cells, vectors.groups, limited["selection"], limited["test"], extra, off_target)


def plan(session: Session, asker: Asker, request: SteeringRequest) -> Plan:
    """The job to make, after the extraction and the calibration that it needs. Raises Problem 422."""
    viewer, settings = asker.viewer, asker.settings

    def make(extraction: ExtractionRequest) -> Made:
        job = extractions.place(session, asker.for_another_job(), extraction).job
        return Made(job.id, extraction_spec(job))

    checked = _check(session, request, viewer, settings, make)
    after: list[Edge] = edges_of(session, request, viewer, checked.model.awaited)
    made = checked.vectors.made
    shared = None if made is None else made.spec["calibration"]  # else two would be made
    asked = request.calibration or (None if shared is None else shared["job"])
    job, wait = calibrations.for_model(session, asker, request, asked, checked.model)
    for needed in [*([job] if wait else []), *checked.waits_for]:
        after = with_edge(after, needed)
    spec: SteeringSpec = {**checked.spec, "calibration": {"job": job}}
    return Plan("steer", "model", request.model, spec, after, warnings=checked.warnings)


def estimate(session: Session, request: SteeringRequest, viewer: Viewer, settings: Settings) -> SteeringCost:
    """What the request would cost; writes nothing. Raises Problem as `submit` does."""

    def make(extraction: ExtractionRequest) -> Made:
        return Made(None, cast(ExtractionSpec, extractions.estimate(session, extraction, viewer, settings).spec))

    checked = _check(session, request, viewer, settings, make)
    after = edges_of(session, request, viewer, checked.model.awaited)
    after, made = calibrations.after_for_model(session, request, request.calibration, checked.model, viewer, settings, after)
    for needed in checked.waits_for:
        after = with_edge(after, needed)
    check_admissible(session, request, after, viewer)
    total, said = limits.answers(request, checked.grid)
    return SteeringCost(
        **running(session, checked.model, request.max_new_tokens),
        spec=checked.spec,
        cells=checked.grid.cells,
        answers=total,
        arithmetic="; ".join(filter(None, (said, checked.judge.arithmetic))),
        judge_answers=checked.judge.answers,
        limit=settings.limit.answers,
        generated_tokens=(total + checked.judge.answers) * request.max_new_tokens,
        estimated_seconds=seconds_for(repository.answers_and_seconds(session, request.model), total),
        waits_for=checked.waits_for,
        warnings=checked.warnings,
        makes_extraction=checked.vectors.made is not None,
        admission=admission(session, viewer.owner, jobs=1 + made + (checked.vectors.made is not None)),
    )


def submit(session: Session, asker: Asker, request: SteeringRequest, reuse: bool = False) -> Answer:
    """The job for this request, and what it needs, in one transaction."""
    return answer(session, asker, place(session, asker, request, reuse))


def place(session: Session, asker: Asker, request: SteeringRequest, reuse: bool = False) -> Placed:
    """The job for this request, and the calibration it needs, in one transaction."""
    earlier = promised(session, asker)
    if earlier is not None:
        return earlier
    return submitted(session, asker, plan(session, asker, request), request, reuse=reuse)


def rescore(session: Session, asker: Asker, identifier: str, request: RescoreRequest) -> Answer:
    """A job that scores the steering's texts again. Light for an endpoint; the other judges read texts with a model.

    A steer job that ended without a steering is continued under the other judge: what it generated is not generated again, only what the
    new scores lead the search to. Raises Problem 403, 404, 422.
    """
    earlier = promised(session, asker)
    if earlier is not None:
        return answer(session, asker, earlier)
    viewer = asker.viewer
    check_text(request.model_dump(mode="json"))
    after = check_edges(session, request, viewer)
    judge = judges.usable(session, request.judge)
    row = repository.find(session, identifier, viewer)
    if row is None:
        plan = _continued(session, identifier, request, viewer, judge)
        return answer(session, asker, submitted(session, asker, plan, request))
    old = scored_spec(session.get_one(Job, row.job_id))
    spec: RescoringSpec = {
        "kind": "rescore",
        "steering": row.id,
        "job": row.job_id,
        "judge": judge,
        "coherence_threshold": old["coherence_threshold"] if request.coherence_threshold is None else request.coherence_threshold,
        "responses_given": old.get("responses_given", False),
        "special_tokens": old.get("special_tokens", "markup"),
        "extraction": old["extraction"]
        if judge["kind"] in ("reference", "phrases")
        else None,  # others do not read its responses
        "reading_hash": row.reading_hash,  # the texts stay what they were
        "model": old["model"],
        "weight_hash": old["weight_hash"],
        "trait": old["trait"],
        "seed": old["seed"],
    }
    plan = Plan("rescore", "light" if judge["kind"] == "openai" else "model", row.model, spec, after)
    return answer(session, asker, submitted(session, asker, plan, request))


def _continued(session: Session, identifier: str, request: RescoreRequest, viewer: Viewer, judge: JudgeSpec) -> Plan:
    """The steer job again with the other judge, in place of one that failed or was cancelled."""
    old = job_repository.find(session, identifier, viewer)
    if old is None or old.kind != "steer" or old.state not in (State.FAILED, State.CANCELLED):
        raise absent(session, "steering", identifier, viewer, *MAKE_STEERINGS)
    require_management(viewer, old.owner, identifier)
    first = steering_spec(old)
    threshold = first["coherence_threshold"] if request.coherence_threshold is None else request.coherence_threshold
    spec: SteeringSpec = {**first, "judge": judge, "coherence_threshold": threshold}
    after = [*job_repository.edges(session, old.id), *request.after]
    check_references(session, viewer, old.id, spec, [edge.job for edge in after])
    return Plan("steer", old.job_class, first["model"], spec, after, retry_of=old.id)


def find(session: Session, identifier: str, viewer: Viewer) -> SteeringOut:
    """By its own id or its job's. Raises Problem 404, 409."""
    found = _existing(session, identifier, viewer)
    return view(found, session.get(Model, found.model))


def _existing(session: Session, identifier: str, viewer: Viewer) -> Steering:
    found = repository.find(session, identifier, viewer)
    if found is None:
        raise absent(session, "steering", identifier, viewer, *MAKE_STEERINGS)
    return found


def listing(
    session: Session, viewer: Viewer, *, model: str | None, trait: str | None, limit: int, before: tuple[datetime, str] | None
) -> Sequence[SteeringOut]:
    """A page of steerings, newest first."""
    found = repository.listing(session, viewer, model=model, trait=trait, limit=limit, before=before)
    models_by_name = model_repository.named(session, {row.model for row in found})
    return [view(row, models_by_name.get(row.model)) for row in found]


def file(session: Session, identifier: str, name: str, viewer: Viewer) -> Artifact:
    """A file of the steering. Raises Problem 404, 409."""
    artifact = job_repository.artifact(session, _existing(session, identifier, viewer).job_id, name)
    if artifact is None:
        raise not_found(f"{name} of steering", identifier)
    return artifact
