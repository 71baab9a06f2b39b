"""Chooses the extraction, and the parts of it, that provide a steering's vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.errors import Problem, invalid
from app.extractions import repository as extractions
from app.extractions.limits import for_another_request
from app.extractions.models import Extraction
from app.extractions.schemas import ExtractionRequest
from app.jobs import repository as job_repository
from app.jobs.planned import job_of, planned_job
from app.jobs.specs import extraction_spec
from app.models.layers import in_order
from app.models.models import Model
from app.models.reading import reading_of
from app.refusals import sentence
from app.steerings import siblings
from app.steerings.asked import Asked
from app.steerings.schemas import SteeringRequest
from terms.methods import UnknownMethod, is_control, parse_method
from terms.specs import ExtractionSpec, VectorsOf


@dataclass(frozen=True)
class Made:
    """An extraction that is submitted first. `job` is None in a dry run, which needs only the spec."""

    job: str | None
    spec: ExtractionSpec


Make = Callable[[ExtractionRequest], Made]


@dataclass(frozen=True)
class Source:
    """The extraction that provides the vectors.

    `row` is None until it has finished. `made`: it was submitted for this steering; then `job` is None in a dry run.
    """

    job: str | None
    spec: ExtractionSpec
    row: Extraction | None = None
    made: Made | None = None


@dataclass(frozen=True)
class Parts:
    """Parts of an extraction, which has a vector for each method at each layer, position and component."""

    methods: Sequence[str]
    layers: Sequence[int]
    positions: Sequence[str]
    components: Sequence[str]

    @property
    def groups(self) -> int:
        """Returns the number of vectors that differ in more than their layer."""
        return len(self.methods) * len(self.positions) * len(self.components)


@dataclass(frozen=True)
class Taken:
    """The parts of an extraction that a steering uses: `asked` as in specs, `parts` after filling in defaults, and their `refits`."""

    source: Source
    asked: VectorsOf
    parts: Parts
    refits: Parts
    own: bool
    """Whether the extraction is of the steering's own trait and model, so that a judge may be fitted to its responses."""


def take(session: Session, asked: Asked, make: Make) -> Taken:
    """Returns the requested parts of the named extraction; else of the newest that fits; else of a new one from `make`.

    Raises Problem 422 for an extraction or a part that cannot be used on this model.
    """
    request, model = asked.request, asked.model
    methods = _methods(request)
    source = _source(session, asked, methods, make)
    spec = source.spec
    made_on = siblings.source(session, spec["model"], model, "/extraction", sibling=request.sibling)
    _check_weights(source, made_on)
    steered = methods or spec["methods"]
    _check_holds(request, steered, _held(source, model))
    if all(map(is_control, steered)):
        raise invalid(
            "/extraction" if methods is None else "/methods", "only_controls",
            f"{', '.join(steered[:5])}: all of these are controls (random, or fitted on shuffled labels), and a control cannot lead. Steer with "
            "a method beside them.",
        )  # fmt: skip
    layers = in_order(request.layers)
    refits = [key for key in spec["refits"] if any(key.startswith(f"{method}__refit") for method in steered)]
    vectors_of: VectorsOf = {
        "job": cast(str, source.job),  # None in a dry run: the extraction is not made
        "methods": [*steered, *refits], "layers": layers, "positions": request.positions,
        "components": request.components,
    }  # fmt: skip
    if made_on.name != model.name:
        vectors_of["source"] = siblings.facts(made_on.name, spec["weight_hash"])
    parts = Parts(
        methods=steered,
        layers=layers or _layers(source, model) or [0],  # unknown layers count as one
        positions=request.positions or spec["positions"],
        components=request.components or spec["components"],
    )
    return Taken(
        source=source,
        asked=vectors_of,
        parts=parts,
        refits=replace(parts, methods=refits),
        own=spec["trait"]["version"] == asked.trait.version and made_on.name == model.name,
    )


def extraction_by(session: Session, identifier: str, viewer: Viewer, pointer: str) -> tuple[Extraction | None, str]:
    """Returns the extraction (None until it has finished) and its job, by the id of either. Raises Problem 422."""
    row = None if planned_job(session, identifier) else extractions.find(session, identifier, viewer)
    if row is not None:
        return row, row.job_id
    job = job_repository.find(session, identifier, viewer) if identifier.startswith("job_") else None
    if job is None or job.kind != "extract":
        raise invalid(pointer, "unknown_extraction", f"There is no extraction {identifier} that you may see.")
    return None, job.id


def _methods(request: SteeringRequest) -> list[str] | None:
    """Returns the keys of the requested methods, each once. Raises Problem 422."""
    if request.methods is None:
        return None
    keys = []
    for i, name in enumerate(request.methods):
        try:
            keys.append(parse_method(name).key)
        except UnknownMethod as error:
            raise invalid(f"/methods/{i}", "unknown_method", str(error)) from error
    return list(dict.fromkeys(keys))


def _source(session: Session, asked: Asked, methods: list[str] | None, make: Make) -> Source:
    """Returns the extraction to use: the named one, the newest that fits, or a new one. Raises Problem 422."""
    if asked.request.extraction is not None:
        row, job = extraction_by(session, asked.request.extraction, asked.viewer, "/extraction")
        return Source(job, extraction_spec(job_of(session, job)), row)
    newest = _newest(session, asked, methods)
    if newest is not None:
        return Source(newest.job_id, extraction_spec(job_of(session, newest.job_id)), newest)
    try:
        made = make(_made_like(asked.request))
    except Problem as problem:
        raise for_another_request(problem) from problem
    return Source(made.job, made.spec, made=made)


def _newest(session: Session, asked: Asked, methods: list[str] | None) -> Extraction | None:
    """Returns the newest finished extraction of these weights that has the requested parts and that the caller may read."""
    request, model = asked.request, asked.model
    weights = model.facts.get("weight_hash") if model.state == "ready" else None
    reading = reading_of(model)
    if weights is None or reading is None:
        return None
    return extractions.newest_with(
        session,
        asked.viewer,
        model=model.name,
        weight_hash=weights,
        reading_hash=reading,
        trait_version=asked.trait.version,
        special_tokens=request.special_tokens,
        methods=methods or [],
        layers=request.layers or [],
        positions=request.positions or [],
        components=request.components or [],
    )


def _made_like(request: SteeringRequest) -> ExtractionRequest:
    """Returns the request for the extraction that this steering needs, with shuffled-label vectors for its controls. Raises Problem 422."""
    fields = (
        "model", "trait", "calibration", "special_tokens", "visibility", "group", "priority", "methods", "layers", "positions",
        "components",
    )  # fmt: skip
    chosen = {name: value for name in fields if (value := getattr(request, name)) is not None}
    controls = max(request.controls.shuffled, ExtractionRequest.model_fields["controls"].default)
    try:
        return ExtractionRequest.model_validate({**chosen, "control_vectors": controls})
    except ValidationError as error:  # an extraction allows fewer values for some fields
        first = error.errors()[0]
        pointer = "".join(f"/{part}" for part in first["loc"])
        raise invalid(
            pointer, first["type"], f"No extraction fits, and none can be made: {pointer}: {sentence(first)}"
        ) from error


def _check_weights(source: Source, made_on: Model) -> None:
    """Raises Problem 422 when the extraction was made from other weights of the model."""
    row = source.row
    if row is not None and made_on.state == "ready" and row.weight_hash != made_on.facts.get("weight_hash"):
        detail = f"{row.id} was made from other weights of {made_on.name}. Extract again."
        raise invalid("/extraction", "vector_of_other_weights", detail)


def _layers(source: Source, model: Model) -> Sequence[int]:
    """Returns the layers of the extraction's vectors: all of the model if the spec names none, which are empty until it is inspected."""
    if source.row is not None:
        return source.row.layers
    return source.spec["layers"] or range(model.facts.get("layers", 0))


def _held(source: Source, model: Model) -> Parts:
    """Returns all usable parts of the extraction, including its control vectors."""
    spec = source.spec
    methods = [*spec["methods"], *spec["controls"], *spec["refits"]]
    return Parts(methods, _layers(source, model), spec["positions"], spec["components"])


def _check_holds(request: SteeringRequest, methods: Sequence[str], held: Parts) -> None:
    """Raises Problem 422, with a pointer into the request, for a part that the extraction does not have."""
    _check_each("method", methods, held.methods)
    if held.layers:
        _check_each("layer", request.layers or (), held.layers)
    _check_each("position", request.positions or (), held.positions)
    _check_each("component", request.components or (), held.components)


def _check_each(what: str, values: Sequence[int | str], held: Sequence[int | str]) -> None:
    for i, value in enumerate(values):
        if value not in held:
            known = ", ".join(map(str, held[:20]))
            raise invalid(f"/{what}s/{i}", "not_in_the_extraction", f"The extraction holds no {what} {value}. It has: {known}.")
