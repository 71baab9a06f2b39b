"""What the API does to steerings. Each function works in its caller's transaction and raises Problem for what the caller did wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.auth.sharing import require_management
from app.auth.viewer import Viewer
from app.calibrations import service as calibrations
from app.errors import Problem, invalid, not_found
from app.extractions import repository as extractions
from app.extractions.models import Extraction, Vector
from app.jobs import repository as job_repository
from app.jobs.models import Artifact, Job
from app.jobs.schemas import Edge
from app.jobs.states import State
from app.jobs.submission import Idempotency
from app.jobs.submitting import Answer, Plan, check_edges, edges_of, promised, submitted, with_edge
from app.judges import service as judges
from app.models import service as models
from app.models.context import check_context
from app.models.models import Model
from app.quotas.admission import admission
from app.settings import Settings
from app.steerings import limits, repository
from app.steerings.results import SteeringCost, SteeringOut, view
from app.steerings.schemas import RescoreRequest, SteeringRequest
from app.text import check_not_blank, check_text
from app.traits import service as traits
from app.traits.models import Trait
from terms.methods import UnknownMethod, parse_method

NAMED = ("methods", "layers", "positions", "components")
COPIED = (
    "combine", "operation", "ablate_plain", "scope", "doses", "coefficients", "budget", "selection_limit", "test_limit", "max_new_tokens",
    "coherence_threshold", "matched", "decomposition", "extra_sets", "reference_protocol", "seed",
)  # fmt: skip
"""Fields of the request that the spec holds as they are."""


@dataclass(frozen=True)
class _Vectors:
    """What is steered with: named vectors, or those of an extraction (finished or not)."""

    vectors: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    extraction: str | None
    wait_for: str | None
    cells: int
    groups: int


@dataclass(frozen=True)
class _Checked:
    model: Model
    trait: Trait
    vectors: _Vectors
    spec: dict[str, Any]
    grid: limits.Grid
    waits_for: list[str]


def _check(session: Session, request: SteeringRequest, viewer: Viewer, settings: Settings) -> _Checked:
    check_text(request.model_dump(mode="json"))
    model = models.usable(session, request.model)
    facts = model.facts if model.state == "ready" else {}
    trait = traits.resolve(session, request.trait, viewer)
    judge = judges.usable(session, request.judge)
    _check_layers(request, facts)
    check_context(request.model, facts, request.max_new_tokens)
    _check_questions(request)
    vectors = (
        _named(session, request, viewer, model) if request.vectors else _of_an_extraction(session, request, viewer, model, trait)
    )
    off_target, off_questions, waits = _off_target(session, request, viewer, model)
    grid = _grid(request, trait, vectors, off_questions)
    limits.check_size(request, grid, settings.limit)
    spec = {
        "kind": "steer",
        "model": request.model,
        "weight_hash": facts.get("weight_hash"),
        "trait": {"name": trait.name, "version": trait.version},
        "vectors": vectors.vectors,
        "from": vectors.sources or None,
        "extraction": vectors.extraction,
        "questions": None if request.questions is None else request.questions.model_dump(mode="json"),
        "sampling": None if request.sampling is None else request.sampling.model_dump(mode="json"),
        "judge": judge,
        "controls": request.controls.model_dump(mode="json"),
        "off_target": off_target,
        "capability": [one.model_dump(mode="json") for one in request.capability] if request.capability else None,
        **{name: getattr(request, name) for name in COPIED},
    }
    return _Checked(model, trait, vectors, spec, grid, [*([vectors.wait_for] if vectors.wait_for else []), *waits])


def _check_layers(request: SteeringRequest, facts: dict[str, Any]) -> None:
    count = facts.get("layers")
    for i, layer in enumerate(request.layers or ()):
        if count is not None and layer >= count:
            raise invalid(
                f"/layers/{i}",
                "layer_out_of_range",
                f"Layer {layer} does not exist: {request.model} has layers 0 to {count - 1}.",
            )


def _check_questions(request: SteeringRequest) -> None:
    """Raises Problem 422 for blank questions, and for a cluster in both sets: a dose must not be chosen on what it is reported on."""
    if request.questions is None:
        return
    seen: dict[str, int] = {}
    for name in ("selection", "test"):
        for i, one in enumerate(getattr(request.questions, name)):
            pointer = f"/questions/{name}/{i}"
            check_not_blank(one.question, f"{pointer}/question")
            cluster = one.cluster or one.question
            if name == "selection":
                seen.setdefault(cluster, i)
            elif cluster in seen:
                detail = (
                    f"{pointer} is of the same cluster as /questions/selection/{seen[cluster]}: what the dose is chosen on says nothing "
                    "of what it does elsewhere. Move one of them, or leave it out."
                )
                raise invalid(pointer, "cluster_in_both_sets", detail)


def _off_target(
    session: Session, request: SteeringRequest, viewer: Viewer, model: Model
) -> tuple[list[dict[str, Any]], int, list[str]]:
    """The other traits as the spec holds them, their test questions in all, and the extractions to wait for."""
    found, questions, waits = [], 0, []
    for i, one in enumerate(request.off_target):
        try:
            trait = traits.resolve(session, one.trait, viewer)
        except Problem as problem:
            raise invalid(f"/off_target/{i}/trait", problem.code, problem.detail) from problem
        job = None
        if one.extraction is not None:
            row, job = _made_by(session, one.extraction, viewer, f"/off_target/{i}/extraction")
            spec = session.get_one(Job, job).spec
            if (spec["model"], spec["trait"]["version"]) != (model.name, trait.version):
                detail = (
                    f"{one.extraction} is of {spec['trait']['name']} on {spec['model']}, not of {trait.name} on {model.name}."
                )
                raise invalid(f"/off_target/{i}/extraction", "extraction_of_another", detail)
            waits += [] if row is not None else [job]
        found.append({"trait": {"name": trait.name, "version": trait.version}, "extraction": job})
        questions += min(trait.counts["test"], request.test_limit or trait.counts["test"])
    return found, questions, waits


def _grid(request: SteeringRequest, trait: Trait, vectors: _Vectors, off_target: int) -> limits.Grid:
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


def vectors_by_id(session: Session, ids: Sequence[str], viewer: Viewer, model: Model) -> list[Vector]:
    """Raises Problem 422, by its place in `/vectors`, for each that cannot be used on this model."""
    found = []
    for i, vector_id in enumerate(ids):
        row = extractions.vector(session, vector_id, viewer)
        if row is None:
            raise invalid(f"/vectors/{i}", "unknown_vector", f"There is no vector {vector_id} that you may see.")
        _check_vector(row, model, f"/vectors/{i}")
        found.append(row)
    return found


def as_named(row: Vector) -> dict[str, Any]:
    """A vector as specs name it."""
    return {
        "id": row.id, "digest": row.digest, "key": row.key, "method": row.method, "layer": row.layer, "component": row.component,
        "position": row.position,
    }  # fmt: skip


def _named(session: Session, request: SteeringRequest, viewer: Viewer, model: Model) -> _Vectors:
    """Vectors by id."""
    found = vectors_by_id(session, request.vectors or (), viewer, model)
    groups = {(row.position, row.component, row.method) for row in found}
    source = next(
        (row.extraction_id for row in found if row.extraction_id is not None and row.trait == request.trait.split("@")[0]), None
    )
    extraction = session.get(Extraction, source) if source else None
    named = [as_named(row) for row in found]
    return _Vectors(named, [], None if extraction is None else extraction.job_id, None, len(found), len(groups))


def _check_vector(row: Vector, model: Model, pointer: str) -> None:
    facts = model.facts if model.state == "ready" else {}
    if row.model != model.name:
        raise invalid(pointer, "vector_of_another_model", f"{row.id} belongs to {row.model}; it means nothing in {model.name}.")
    if row.weight_hash is not None and facts.get("weight_hash") not in (None, row.weight_hash):
        detail = f"{row.id} was made from other weights of {model.name} (sha256 {row.weight_hash[:12]}). Extract it again."
        raise invalid(pointer, "vector_of_other_weights", detail)


def _of_an_extraction(session: Session, request: SteeringRequest, viewer: Viewer, model: Model, trait: Trait) -> _Vectors:
    methods = _methods(request)
    if request.extraction is not None:
        row, made_by = _made_by(session, request.extraction, viewer, "/extraction")
    else:
        row = _newest(session, request, viewer, model, trait, methods)
        made_by = row.job_id
    spec = session.get_one(Job, made_by).spec
    if spec["model"] != model.name:
        raise invalid(
            "/extraction",
            "vector_of_another_model",
            f"{request.extraction} holds vectors of {spec['model']}, not of {model.name}.",
        )
    if row is not None and model.state == "ready" and row.weight_hash != model.facts.get("weight_hash"):
        raise invalid(
            "/extraction", "vector_of_other_weights", f"{row.id} was made from other weights of {model.name}. Extract again."
        )
    have = {
        "methods": [*spec["methods"], *spec["controls"], *spec["refits"]],
        "layers": row.layers if row is not None else spec["layers"] or list(range(model.facts.get("layers", 1))),
        "positions": spec["positions"],
        "components": spec["components"],
    }
    wanted = {
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
    counts = {name: len(values or have[name]) for name, values in wanted.items()}
    groups = counts["methods"] * counts["positions"] * counts["components"]
    refits = [key for key in spec["refits"] if any(key.startswith(f"{one}__refit") for one in wanted["methods"] or ())]
    source = {"job": made_by, **wanted, "methods": [*(wanted["methods"] or ()), *refits]}
    own_trait = spec["trait"]["version"] == trait.version
    return _Vectors(
        [], [source], made_by if own_trait else None, None if row is not None else made_by, groups * counts["layers"], groups
    )


def _made_by(session: Session, identifier: str, viewer: Viewer, pointer: str) -> tuple[Extraction | None, str]:
    """The extraction (None while it is not finished) and its job, by the id of either. Raises Problem 422."""
    row = extractions.find(session, identifier, viewer)
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
) -> Extraction:
    weights = model.facts.get("weight_hash") if model.state == "ready" else None
    found = None
    if weights is not None:
        found = extractions.newest_with(
            session,
            viewer,
            model=model.name,
            weight_hash=weights,
            trait_version=trait.version,
            methods=methods or [],
            layers=request.layers or [],
        )
    if found is None:
        named = ", ".join(methods) if methods else "any method"
        detail = (
            f"There is no finished extraction of {trait.name} on {model.name} with {named} that you may read. POST /v1/extractions first and "
            "give its job as /extraction (this job then waits for it), or name /vectors."
        )
        raise invalid("/extraction", "no_extraction", detail)
    return found


def plan(session: Session, request: SteeringRequest, viewer: Viewer, settings: Settings, request_id: str) -> Plan:
    """The job to make, after the extraction and the calibration that it needs. Raises Problem 422."""
    checked = _check(session, request, viewer, settings)
    after: list[Edge] = edges_of(session, request, viewer, checked.model)
    job, wait = calibrations.for_model(session, request, request.calibration, checked.model, viewer, settings, request_id)
    for needed in [*([job] if wait else []), *checked.waits_for]:
        after = with_edge(after, needed)
    return Plan("steer", "model", request.model, {**checked.spec, "calibration": {"job": job}}, after)


def estimate(session: Session, request: SteeringRequest, viewer: Viewer, settings: Settings) -> SteeringCost:
    """What the request would cost; writes nothing."""
    checked = _check(session, request, viewer, settings)
    total, said = limits.answers(request, checked.grid)
    each = repository.seconds_per_answer(session, request.model)
    return SteeringCost(
        spec=checked.spec,
        cells=checked.grid.cells,
        answers=total,
        arithmetic=said,
        limit=settings.limit.answers,
        generated_tokens=total * request.max_new_tokens,
        estimated_seconds=None if each is None else round(each * total, 1),
        waits_for=checked.waits_for,
        admission=admission(
            session, viewer.owner, jobs=1 + calibrations.jobs_for(session, request.calibration, checked.model, viewer)
        ),
    )


def submit(
    session: Session,
    request: SteeringRequest,
    viewer: Viewer,
    settings: Settings,
    promise: Idempotency | None,
    request_id: str,
    reuse: bool,
) -> Answer:
    """The job for this request, and the calibration it needs, in one transaction."""
    earlier = promised(session, viewer, settings, promise)
    if earlier is not None:
        return earlier
    return submitted(
        session, plan(session, request, viewer, settings, request_id), request, viewer, settings, promise, request_id, reuse=reuse
    )


def rescore(
    session: Session,
    identifier: str,
    request: RescoreRequest,
    viewer: Viewer,
    settings: Settings,
    promise: Idempotency | None,
    request_id: str,
) -> Answer:
    """A job that scores the steering's texts again. Light for an endpoint; the other judges read texts with a model.

    A steer job that ended without a steering is continued under the other judge: what it generated is not generated again, only what the
    new scores lead the search to. Raises Problem 403, 404, 422.
    """
    earlier = promised(session, viewer, settings, promise)
    if earlier is not None:
        return earlier
    check_text(request.model_dump(mode="json"))
    after = check_edges(session, request, viewer)
    judge = judges.usable(session, request.judge)
    row = repository.find(session, identifier, viewer)
    if row is None:
        plan = _continued(session, identifier, request, viewer, judge)
        return submitted(session, plan, request, viewer, settings, promise, request_id)
    old = session.get_one(Job, row.job_id).spec
    spec = {
        "kind": "rescore",
        "steering": row.id,
        "job": row.job_id,
        "judge": judge,
        "coherence_threshold": old["coherence_threshold"] if request.coherence_threshold is None else request.coherence_threshold,
        "responses_given": old.get("responses_given", False),
        **{name: old[name] for name in ("model", "weight_hash", "trait", "extraction", "seed")},
    }
    plan = Plan("rescore", "light" if judge["kind"] == "openai" else "model", row.model, spec, after)
    return submitted(session, plan, request, viewer, settings, promise, request_id)


def _continued(session: Session, identifier: str, request: RescoreRequest, viewer: Viewer, judge: dict[str, Any]) -> Plan:
    """The steer job again with the other judge, in place of one that failed or was cancelled."""
    old = job_repository.find(session, identifier, viewer)
    if old is None or old.kind != "steer" or old.state not in (State.FAILED, State.CANCELLED):
        raise not_found("steering", identifier)
    require_management(viewer, old.owner, identifier)
    threshold = old.spec["coherence_threshold"] if request.coherence_threshold is None else request.coherence_threshold
    spec = {**old.spec, "judge": judge, "coherence_threshold": threshold}
    after = [*job_repository.edges(session, old.id), *request.after]
    return Plan("steer", old.job_class, old.spec["model"], spec, after, retry_of=old.id)


def find(session: Session, identifier: str, viewer: Viewer) -> SteeringOut:
    """By its own id or its job's. Raises Problem 404."""
    found = repository.find(session, identifier, viewer)
    if found is None:
        raise not_found("steering", identifier)
    return view(found)


def listing(
    session: Session, viewer: Viewer, *, model: str | None, trait: str | None, limit: int, before: tuple[datetime, str] | None
) -> Sequence[SteeringOut]:
    """A page of steerings, newest first."""
    return [view(row) for row in repository.listing(session, viewer, model=model, trait=trait, limit=limit, before=before)]


def file(session: Session, identifier: str, name: str, viewer: Viewer) -> Artifact:
    """A file of the steering. Raises Problem 404."""
    found = repository.find(session, identifier, viewer)
    artifact = None if found is None else job_repository.artifact(session, found.job_id, name)
    if artifact is None:
        raise not_found(f"{name} of steering", identifier)
    return artifact
