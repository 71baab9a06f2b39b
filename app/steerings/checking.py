"""Checks a request for a steering, and turns it into the spec of its job. Raises Problem 422 for an invalid request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session

from app.errors import Problem, invalid
from app.jobs.planned import job_of
from app.jobs.prompts import check_prompt
from app.jobs.specs import extraction_spec
from app.jobs.submission import Asker
from app.judges import service as judges
from app.models import service as models
from app.models.context import check_context, check_scope
from app.models.layers import check_layers
from app.models.models import Model
from app.models.reading import reading_of
from app.models.running import check_fits
from app.settings import LimitSettings
from app.steerings import judging, limits
from app.steerings.asked import Asked
from app.steerings.extracted import Make, extraction_by
from app.steerings.schemas import SteeringRequest
from app.steerings.vectors import Vectors, chosen
from app.text import check_not_blank, check_text
from app.traits import service as traits
from app.traits import suitability
from app.traits.models import Trait
from terms.judging import JudgeSpec
from terms.specs import ExtractionSpec, OffTargetSpec, SteeringAsked


@dataclass(frozen=True)
class Checked:
    """A valid request: its spec without the calibration, its grid, the jobs to wait for, and its cost.

    `judge` is the cost of preparing the judge; `warnings` say what the result will lack.
    """

    model: Model
    vectors: Vectors
    spec: SteeringAsked
    grid: limits.Grid
    waits_for: list[str]
    warnings: list[str]
    judge: judging.Preparing


@dataclass(frozen=True)
class _OffTarget:
    """Other traits that the vectors are tested on: their specs, the total number of their test questions, and the jobs to wait for."""

    specs: list[OffTargetSpec]
    questions: int
    waits_for: list[str]


def check(session: Session, asker: Asker, request: SteeringRequest, make: Make) -> Checked:
    """Returns the request's spec and cost. `make` submits an extraction if none fits. Raises Problem 422."""
    viewer, limit = asker.viewer, asker.settings.limit
    check_text(request.model_dump(mode="json"))
    model = models.usable(session, request.model)
    facts = model.facts if model.state == "ready" else {}
    trait = traits.resolve(session, request.trait, viewer)
    judge = judges.usable(session, request.judge)
    check_layers(request.layers, request.model, facts)
    check_context(request.model, facts, request.max_new_tokens)
    check_scope(request.scope, request.max_new_tokens)
    check_fits(session, model, request.max_new_tokens)
    _check_questions(request, limit)
    asked = Asked(request, viewer, model, trait)
    vectors = chosen(session, asked, make)
    off_target = _off_target(session, asked)
    grid = _grid(asked, vectors, off_target.questions)
    limits.check_size(request, grid, limit)
    spec = _spec(asked, vectors, off_target.specs, judge)
    spec |= {"weight_hash": facts.get("weight_hash"), "reading_hash": reading_of(model)}
    if not facts:
        spec["most_searched"] = limits.most_searched(request, grid, limit)
    if judging.responses_given(session, vectors):
        spec["responses_given"] = True
    waits_for = [*([vectors.wait_for] if vectors.wait_for else []), *off_target.waits_for]
    warnings = [*_warnings(asked, judge), *judging.doubt(session, spec, viewer)]
    price = judging.preparing(session, judge, trait, vectors, grid, request.max_new_tokens)
    return Checked(model, vectors, spec, grid, waits_for, warnings, price)


def _warnings(asked: Asked, judge: JudgeSpec) -> list[str]:
    """Returns warnings about what the trait, the questions and the judge cannot show on this model."""
    request, model, trait = asked.request, asked.model, asked.trait
    facts = model.facts if model.state == "ready" else {}
    own = request.questions
    clusters = None if own is None else [question.cluster or question.question for question in own.test]
    return [
        *suitability.of_model(trait, request.model, facts),
        *suitability.of_questions(trait, clusters, request.test_limit),
        *suitability.of_judge(trait, judge),
    ]


def _spec(asked: Asked, vectors: Vectors, off_target: list[OffTargetSpec], judge: JudgeSpec) -> SteeringAsked:
    """Returns the spec without the parts that depend on the model's inspection and on other jobs."""
    request, trait = asked.request, asked.trait
    return {
        "kind": "steer",
        "model": request.model,
        "weight_hash": None,
        "reading_hash": None,
        "trait": {"name": trait.name, "version": trait.version},
        "vectors": list(vectors.vectors),
        "from": list(vectors.sources) or None,
        "extraction": vectors.extraction,
        "questions": None if request.questions is None else request.questions.spec(),
        "sampling": None if request.sampling is None else request.sampling.spec(),
        "judge": judge,
        "controls": request.controls.spec(),
        "off_target": off_target,
        "capability": [question.spec() for question in request.capability or ()] or None,
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


def _check_questions(request: SteeringRequest, limit: LimitSettings) -> None:
    """Raises Problem 422 for blank questions and answers, for questions that are too long, and for a cluster in both sets: a dose must not be
    chosen and reported on the same cluster."""
    for i, capability in enumerate(request.capability or ()):
        check_prompt(capability.question, capability.system_prompt, f"/capability/{i}/question", limit)
        check_not_blank(capability.answer, f"/capability/{i}/answer")  # a blank one would be "found" after any full stop
    if request.questions is None:
        return
    chosen_on: dict[str, int] = {}  # by cluster: the index of its first question in /questions/selection
    for i, question in enumerate(request.questions.selection):
        check_prompt(question.question, question.system_prompt, f"/questions/selection/{i}", limit)
        chosen_on.setdefault(question.cluster or question.question, i)
    for i, question in enumerate(request.questions.test):
        pointer = f"/questions/test/{i}"
        check_prompt(question.question, question.system_prompt, pointer, limit)
        same = chosen_on.get(question.cluster or question.question)
        if same is not None:
            detail = (
                f"{pointer} is of the same cluster as /questions/selection/{same}: a question that "
                "chose the dose cannot measure its effect on others. Move one of the two, or leave it out."
            )
            raise invalid(pointer, "cluster_in_both_sets", detail)


def _off_target(session: Session, asked: Asked) -> _OffTarget:
    """Returns the other traits that the request names. Raises Problem 422 for each unusable trait."""
    specs: list[OffTargetSpec] = []
    questions, waits_for = 0, list[str]()
    for i, other in enumerate(asked.request.off_target):
        try:
            trait = traits.resolve(session, other.trait, asked.viewer)
        except Problem as problem:
            raise invalid(f"/off_target/{i}/trait", problem.code, problem.detail) from problem
        _check_off_target(trait, [spec["trait"]["name"] for spec in specs], f"/off_target/{i}/trait")
        spec: OffTargetSpec = {"trait": {"name": trait.name, "version": trait.version}, "extraction": None}
        if other.extraction is not None:
            pointer = f"/off_target/{i}/extraction"
            row, job = extraction_by(session, other.extraction, asked.viewer, pointer)
            spec["extraction"] = job
            made_by = extraction_spec(job_of(session, job))
            _check_is_of(made_by, other.extraction, trait, asked.model, pointer)
            if made_by.get("responses") == "given":
                spec["responses_given"] = True
            waits_for += [] if row is not None else [job]
        specs.append(spec)
        questions += min(trait.counts["test"], asked.request.test_limit or trait.counts["test"])
    return _OffTarget(specs, questions, waits_for)


def _check_off_target(trait: Trait, earlier: Sequence[str], pointer: str) -> None:
    """Raises Problem 422 for a trait without a test question, and for one of the `earlier` names: the result has one row for each name."""
    if trait.name in earlier:
        detail = (
            f"{trait.name} is already entry {earlier.index(trait.name)} of /off_target: name each trait once, in one version."
        )
        raise invalid(pointer, "repeated_trait", detail)
    if trait.counts["test"] == 0:
        detail = (
            f"{trait.name} has no test question. Upload it with steering questions for the test, or leave it out of /off_target."
        )
        raise invalid(pointer, "no_questions", detail)


def _check_is_of(spec: ExtractionSpec, named: str, trait: Trait, model: Model, pointer: str) -> None:
    """Raises Problem 422 unless the extraction, called `named` in the request, is of this trait on this model."""
    if (spec["model"], spec["trait"]["version"]) != (model.name, trait.version):
        detail = f"{named} is of {spec['trait']['name']} on {spec['model']}, not of {trait.name} on {model.name}."
        raise invalid(pointer, "extraction_of_another", detail)


def _grid(asked: Asked, vectors: Vectors, off_target: int) -> limits.Grid:
    """Returns the grid of the steering; `off_target` counts the questions of other traits. Raises Problem 422 without a question."""
    request, trait = asked.request, asked.trait
    selection, test = _questions(asked, "selection"), _questions(asked, "test")
    for i, name in enumerate(request.extra_sets):
        if trait.counts[name] == 0:
            detail = f"{trait.name} has no {name} question. Upload it with /{name}, or leave {name} out of /extra_sets."
            raise invalid(f"/extra_sets/{i}", "no_questions", detail)
    extra = sum(trait.counts[name] for name in request.extra_sets) + len(request.capability or ())
    return limits.Grid(
        cells=vectors.groups if request.combine else vectors.cells,
        groups=vectors.groups,
        selection=min(selection, request.selection_limit or selection),
        test=min(test, request.test_limit or test),
        extra=extra,
        off_target=off_target,
        refits=vectors.refits,
    )


def _questions(asked: Asked, name: Literal["selection", "test"]) -> int:
    """Returns the number of questions in the set: the request's own if it has any, else the trait's. Raises Problem 422 if there are none."""
    own, trait = asked.request.questions, asked.trait
    count = trait.counts[name] if own is None else len(own.selection if name == "selection" else own.test)
    if count == 0:
        detail = f"{trait.name} has no {name} question. Upload it with steering questions, or give /questions."
        raise invalid("/questions" if own else "/trait", "no_questions", detail)
    return count
