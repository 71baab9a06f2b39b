"""Turns each node of a study's graph into an ordinary request (calibration, extraction or steering), estimates its cost and submits its job.

When one of these requests is refused, the whole study is refused, with the field of the study that caused the refusal.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.calibrations import service as calibrations
from app.calibrations.schemas import CalibrationRequest
from app.errors import Problem, invalid
from app.extractions import service as extractions
from app.extractions.limits import for_another_request
from app.extractions.schemas import ExtractionRequest
from app.jobs.submission import Asker
from app.jobs.submitting import Placed
from app.models import service as models
from app.models.layers import in_order
from app.models.models import Model
from app.refusals import sentence
from app.settings import LimitSettings
from app.steerings import service as steerings
from app.steerings.schemas import MOST_METHODS, SteeringRequest
from app.studies.graph import ZEROED, Node, ablation, method_keys, middle, plan, resolved
from app.studies.schemas import StudyRequest
from app.text import check_text
from app.traits import service as traits
from app.traits.models import Trait
from binnacle.words.counting import counted
from terms.methods import UnknownMethod
from terms.values import JsonField


@dataclass(frozen=True)
class _Domain:
    """The request schema and the functions that submit and estimate the nodes of one kind of job."""

    request: type[BaseModel]
    place: Callable[..., Placed]
    estimate: Callable[..., BaseModel]


DOMAINS = {
    "calibrate": _Domain(CalibrationRequest, calibrations.place, calibrations.estimate),
    "extract": _Domain(ExtractionRequest, extractions.place, extractions.estimate),
    "steer": _Domain(SteeringRequest, steerings.place, steerings.estimate),
}


RENAMED = {"/model": "/models", "/trait": "/traits", "/extraction": "/methods", "/calibration": "/models"}
"""Fields of a node's request that have other names in the study, or follow from other fields of it."""
RENAMED_OF = {
    "calibrate": {"/max_new_tokens": "/calibration_new_tokens"},
    "extract": {"/control_vectors": "/controls"},
}
"""More of these, by the node's kind."""


def arithmetic(request: StudyRequest) -> tuple[int, str]:
    """Returns the number of the study's jobs, and its arithmetic in words."""
    models, pairs = len(request.models), len(request.models) * len(request.traits)
    return models + 2 * pairs + 1, " + ".join(
        counted(count, kind)
        for kind, count in {"calibration": models, "extraction": pairs, "steering": pairs, "report": 1}.items()
    )


def check_size(request: StudyRequest, limits: LimitSettings) -> None:
    """Raises Problem 422 `study_too_large` for a study with too many jobs."""
    total, said = arithmetic(request)
    if total > limits.study_jobs:
        pointer = "/traits" if len(request.traits) >= len(request.models) else "/models"
        detail = (
            f"{counted(len(request.models), 'model')} x {counted(len(request.traits), 'trait')}: {said} = {total:,} jobs; this server allows "
            f"{limits.study_jobs:,} in one study. Name fewer, or split the study: with ?reuse=true the parts share finished jobs."
        )
        raise invalid(pointer, "study_too_large", detail)


def nodes_of(session: Session, asker: Asker, request: StudyRequest) -> list[Node]:
    """Returns the study's graph. Raises Problem 422 for too many jobs or methods, and for unknown models, traits and methods.

    With `skip_unregistered`, unknown models are skipped, unless all models are unknown.
    """
    check_size(request, asker.settings.limit)
    check_text(request.model_dump(mode="json"))
    for field in ("models", "traits"):
        given = getattr(request, field)
        if len(set(given)) != len(given):
            raise invalid(f"/{field}", "duplicate", f"/{field} repeats an entry: {', '.join(given)}.")
    layers: dict[str, list[int]] = {}
    for i, name in enumerate(request.models):
        try:
            model = models.usable(session, name)
        except Problem as problem:
            if request.skip_unregistered and problem.code == "unknown_model":
                continue
            raise invalid(f"/models/{i}", problem.code, problem.detail) from problem
        layers[name] = _layers(request, model, i)
    if not layers:
        detail = "None of the study's models is registered here, so there is nothing to measure."
        raise invalid("/models", "unknown_model", f"{detail} Register one of them: binnacle models add NAME SOURCE.")
    traits_by_entry = {name: _trait(session, name, i, asker.viewer) for i, name in enumerate(request.traits)}
    _check_each_once(traits_by_entry)
    try:
        _check_methods(request)
        return plan(request, layers, {name: trait.counts for name, trait in traits_by_entry.items()})
    except UnknownMethod as error:
        raise invalid("/methods", "unknown_method", str(error)) from error


def _trait(session: Session, name: str, index: int, viewer: Viewer) -> Trait:
    try:
        return traits.resolve(session, name, viewer)
    except Problem as problem:
        raise invalid(f"/traits/{index}", problem.code, problem.detail) from problem


def _check_each_once(traits_by_entry: Mapping[str, Trait]) -> None:
    """Raises Problem 422 for two entries of one trait: a recommendation counts the traits on which a method is among the best."""
    places: dict[str, int] = {}
    for i, (entry, trait) in enumerate(traits_by_entry.items()):
        earlier = places.setdefault(trait.name, i)
        if earlier != i:
            detail = f"{entry} is of {trait.name}, as entry {earlier} of /traits is: name each trait once, in one version."
            raise invalid(f"/traits/{i}", "repeated_trait", detail)


def _check_methods(request: StudyRequest) -> None:
    """Raises Problem 422 for more methods than one steering takes. Raises UnknownMethod."""
    total = len(method_keys(request))
    if not request.traits or total <= MOST_METHODS:
        return
    bases, counts = ablation(request)
    said = (
        f"{counted(len(request.methods), 'method')} + {counted(len(bases), 'base method')} ({', '.join(bases)}) x "
        f"{counted(len(counts), 'number')} of dims x {len(ZEROED)} ways to choose the dims"
    )
    detail = (
        f"{said} = {len(request.methods) + len(bases) * len(counts) * len(ZEROED)}; without repeats "
        f"{total}; a steering takes {MOST_METHODS}. Name fewer methods (/methods), or fewer numbers of dims (/ablation)."
    )
    raise invalid("/methods" if request.ablation is None else "/ablation", "too_many_methods", detail)


def _layers(request: StudyRequest, model: Model, index: int) -> list[int]:
    """Returns the layers to steer at; none in a study without traits."""
    if not request.traits:
        return []
    if request.layers != "middle":
        return in_order(request.layers) or []
    count = model.facts.get("layers")
    if count is None:
        detail = f"{model.name} is still being inspected, so its middle layers are not known yet. Wait for the inspection, or name /layers."
        raise invalid(f"/models/{index}", "model_not_ready", detail)
    return middle(count)


def price(session: Session, asker: Asker, node: Node, known: Mapping[str, str], request: StudyRequest) -> JsonField:
    """Returns the node's estimated cost. `known` maps the names of earlier nodes to their jobs' ids."""
    cost = DOMAINS[node.kind].estimate(session, asker, _body(node, known, request))
    return cost.model_dump(mode="json", exclude={"spec", "waits_for", "calibration", "admission"})


def place_node(
    session: Session, asker: Asker, node: Node, known: Mapping[str, str], request: StudyRequest, reuse: bool
) -> Placed:
    """Submits the node's job. `known` maps the names of earlier nodes to their jobs' ids. Raises Problem that points to the study's fields."""
    body = _body(node, known, request)
    try:
        return DOMAINS[node.kind].place(session, asker.for_another_job(), body, reuse)
    except Problem as problem:
        raise _of_the_study(problem, node) from problem


def _body(node: Node, known: Mapping[str, str], request: StudyRequest) -> BaseModel:
    """Returns the node's request: its own fields and those that every job of the study shares."""
    common = {
        "name": f"{request.name or 'study'}: {node.name}"[:200],
        "tags": request.tags,
        "priority": request.priority,
        "after": request.after,
        "visibility": request.visibility,
        "group": request.group,
        "special_tokens": request.special_tokens,
    }
    try:
        return DOMAINS[node.kind].request.model_validate(common | resolved(node.body, known))
    except ValidationError as error:
        first = error.errors()[0]
        detail = f"{node.name}: {'/'.join(map(str, first['loc']))}: {sentence(first)}"
        raise invalid(f"/{first['loc'][0]}", "invalid_study", detail) from error


def _of_the_study(problem: Problem, node: Node) -> Problem:
    """Returns the problem with pointers into the study, and with the study's name of a calibration's field in its sentences."""
    names = RENAMED | RENAMED_OF.get(node.kind, {})
    if node.kind == "extract":
        problem = for_another_request(problem)

    def told(detail: str) -> str:
        return detail.replace("/max_new_tokens", names["/max_new_tokens"]) if node.kind == "calibrate" else detail

    errors = []
    for error in problem.errors:
        pointer = error["pointer"]
        named = "/traits" if pointer.startswith("/off_target/") else names.get(pointer, pointer)
        errors.append(error | {"pointer": named, "detail": told(error["detail"])})
    return Problem(problem.status, problem.code, f"{node.name}: {told(problem.detail)}", errors=errors)
