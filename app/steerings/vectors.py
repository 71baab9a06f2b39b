"""Which vectors a steering pushes with: those named by id, or those of an extraction, finished or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.errors import invalid
from app.extractions import repository as extractions
from app.extractions.models import Extraction, Vector
from app.extractions.schemas import ExtractionRequest
from app.jobs import repository as job_repository
from app.jobs.planned import job_of, planned_job
from app.jobs.specs import extraction_spec
from app.models.layers import in_order
from app.models.models import Model
from app.models.reading import reading_of
from app.refusals import sentence
from app.steerings import siblings
from app.steerings.schemas import SteeringRequest
from app.traits.models import Trait
from terms.methods import UnknownMethod, parse_method
from terms.specs import ExtractionSpec, VectorsOf, VectorSpec

NAMED = ("methods", "layers", "positions", "components")


@dataclass(frozen=True)
class Vectors:
    """What is steered with: named vectors, or those of an extraction (finished or not).

    `vectors` and `sources` are as specs hold them. `extraction` is the job of the trait's own extraction on this model, which the reference
    judge reads; `wait_for` is the extraction's job while it has not ended. `cells` counts vectors, `groups` those that differ in more than
    their layer.
    """

    cells: int
    groups: int
    vectors: Sequence[VectorSpec] = ()
    sources: Sequence[VectorsOf] = ()
    extraction: str | None = None
    wait_for: str | None = None
    made: "Made | None" = None


@dataclass(frozen=True)
class Made:
    """An extraction that is made first. job: None in a dry run, which only asks what its spec would be."""

    job: str | None
    spec: ExtractionSpec


Make = Callable[[ExtractionRequest], Made]


def chosen(session: Session, request: SteeringRequest, viewer: Viewer, model: Model, trait: Trait, make: Make) -> Vectors:
    """The vectors that the request names or describes; without any, those of an extraction that `make` makes first.

    Raises Problem 422 for each that cannot be used on this model.
    """
    if request.vectors:
        return _named(session, request, viewer, model)
    return _of_an_extraction(session, request, viewer, model, trait, make)


def vectors_by_id(session: Session, ids: Sequence[str], viewer: Viewer, model: Model, *, sibling: bool) -> list[Vector]:
    """The vectors of these ids; with `sibling` also those of a model with the same layers and widths.

    Raises Problem 422, by its place in `/vectors`, for each that cannot be used on this model.
    """
    found, seen = [], extractions.vectors_named(session, ids, viewer)
    for i, vector_id in enumerate(ids):
        row = seen.get(vector_id)
        if row is None:
            raise invalid(f"/vectors/{i}", "unknown_vector", f"There is no vector {vector_id} that you may see.")
        _check_vector(row, siblings.source(session, row.model, model, f"/vectors/{i}", sibling=sibling), f"/vectors/{i}")
        found.append(row)
    return found


def as_named(row: Vector, model: Model) -> VectorSpec:
    """A vector as specs name it; one of another model says of which, and that model's massive dims in it."""
    named: VectorSpec = {
        "id": row.id, "digest": row.digest, "key": row.key, "method": row.method, "layer": row.layer, "component": row.component,
        "position": row.position,
    }  # fmt: skip
    if row.model == model.name:
        return named
    return {**named, "source": siblings.facts(row.model, row.weight_hash), "facts": {"massive": row.facts.get("massive")}}


def _named(session: Session, request: SteeringRequest, viewer: Viewer, model: Model) -> Vectors:
    """Vectors by id."""
    found = vectors_by_id(session, request.vectors or (), viewer, model, sibling=request.sibling)
    groups = {(row.position, row.component, row.method) for row in found}
    source = next(
        (
            row.extraction_id
            for row in found
            if row.extraction_id is not None and row.trait == request.trait.split("@")[0] and row.model == model.name
        ),
        None,
    )
    extraction = session.get(Extraction, source) if source else None
    return Vectors(
        cells=len(found),
        groups=len(groups),
        vectors=[as_named(row, model) for row in found],
        extraction=None if extraction is None else extraction.job_id,
    )


def _check_vector(row: Vector, model: Model, pointer: str) -> None:
    """`model` is the model that the vector was made on."""
    facts = model.facts if model.state == "ready" else {}
    if row.weight_hash is not None and facts.get("weight_hash") not in (None, row.weight_hash):
        detail = f"{row.id} was made from other weights of {model.name} (sha256 {row.weight_hash[:12]}). Extract it again."
        raise invalid(pointer, "vector_of_other_weights", detail)


def _of_an_extraction(
    session: Session, request: SteeringRequest, viewer: Viewer, model: Model, trait: Trait, make: Make
) -> Vectors:
    methods, made = _methods(request), None
    made_by: str | None
    if request.extraction is not None:
        row, made_by = extraction_by(session, request.extraction, viewer, "/extraction")
    elif (row := _newest(session, request, viewer, model, trait, methods)) is not None:
        made_by = row.job_id
    else:
        made = make(_made_like(request))
        made_by = made.job
    spec = made.spec if made is not None else extraction_spec(job_of(session, str(made_by)))
    made_on = siblings.source(session, spec["model"], model, "/extraction", sibling=request.sibling)
    if row is not None and made_on.state == "ready" and row.weight_hash != made_on.facts.get("weight_hash"):
        raise invalid(
            "/extraction", "vector_of_other_weights", f"{row.id} was made from other weights of {made_on.name}. Extract again."
        )
    have: dict[str, Sequence[int | str]] = {
        "methods": [*spec["methods"], *spec["controls"], *spec["refits"]],
        "layers": row.layers if row is not None else spec["layers"] or list(range(model.facts.get("layers", 1))),
        "positions": spec["positions"],
        "components": spec["components"],
    }
    wanted: dict[str, Sequence[int | str] | None] = {
        "methods": methods or spec["methods"],
        "layers": request.layers,
        "positions": request.positions,
        "components": request.components,
    }
    for name, values in wanted.items():
        for i, value in enumerate(values or ()):
            if value not in have[name]:
                known = ", ".join(map(str, have[name][:20]))
                raise invalid(
                    f"/{name}/{i}", "not_in_the_extraction", f"The extraction holds no {name[:-1]} {value}. It has: {known}."
                )
    wanted["layers"] = layers = in_order(request.layers)
    counts = {name: len(values or have[name]) for name, values in wanted.items()}
    groups = counts["methods"] * counts["positions"] * counts["components"]
    steered = methods or spec["methods"]
    refits = [key for key in spec["refits"] if any(key.startswith(f"{one}__refit") for one in steered)]
    source: VectorsOf = {
        "job": str(made_by), "methods": [*steered, *refits], "layers": layers, "positions": request.positions,
        "components": request.components,
    }  # fmt: skip
    if made_on.name != model.name:
        source["source"] = siblings.facts(made_on.name, spec["weight_hash"])
    own_trait = spec["trait"]["version"] == trait.version and made_on.name == model.name
    return Vectors(
        cells=groups * counts["layers"],
        groups=groups,
        sources=[source],
        extraction=made_by if own_trait else None,
        wait_for=None if row is not None else made_by,
        made=made,
    )


def _made_like(request: SteeringRequest) -> ExtractionRequest:
    """The extraction that this steering needs, with the shuffled-label vectors of its controls. Raises Problem 422."""
    fields = ("model", "trait", "calibration", "special_tokens", "visibility", "group", *NAMED)
    chosen = {name: value for name in fields if (value := getattr(request, name)) is not None}
    controls = max(request.controls.shuffled, ExtractionRequest.model_fields["controls"].default)
    try:
        return ExtractionRequest.model_validate({**chosen, "control_vectors": controls})
    except ValidationError as error:  # fields that an extraction takes fewer values for
        first = error.errors()[0]
        pointer = "".join(f"/{part}" for part in first["loc"])
        raise invalid(
            pointer, first["type"], f"No extraction fits, and none can be made: {pointer}: {sentence(first)}"
        ) from error


def extraction_by(session: Session, identifier: str, viewer: Viewer, pointer: str) -> tuple[Extraction | None, str]:
    """The extraction (None while it is not finished) and its job, by the id of either. Raises Problem 422."""
    row = None if planned_job(session, identifier) else extractions.find(session, identifier, viewer)
    if row is not None:
        return row, row.job_id
    job = job_repository.find(session, identifier, viewer) if identifier.startswith("job_") else None
    if job is None or job.kind != "extract":
        raise invalid(pointer, "unknown_extraction", f"There is no extraction {identifier} that you may see.")
    return None, job.id


def _methods(request: SteeringRequest) -> list[str] | None:
    if request.methods is None:
        return None
    keys = []
    for i, name in enumerate(request.methods):
        try:
            keys.append(parse_method(name).key)
        except UnknownMethod as error:
            raise invalid(f"/methods/{i}", "unknown_method", str(error)) from error
    return list(dict.fromkeys(keys))


def _newest(
    session: Session, request: SteeringRequest, viewer: Viewer, model: Model, trait: Trait, methods: list[str] | None
) -> Extraction | None:
    """The newest finished extraction of these weights that holds what the request names and that the caller may read."""
    weights = model.facts.get("weight_hash") if model.state == "ready" else None
    reading = reading_of(model)
    if weights is None or reading is None:
        return None
    found = extractions.newest_with(
        session,
        viewer,
        model=model.name,
        weight_hash=weights,
        reading_hash=reading,
        trait_version=trait.version,
        methods=methods or [],
        layers=request.layers or [],
    )
    if found is None:
        return None
    spec = extraction_spec(job_of(session, found.job_id))
    holds = all(
        set(asked or ()) <= set(held)
        for asked, held in ((request.positions, spec["positions"]), (request.components, spec["components"]))
    )
    return found if holds else None
