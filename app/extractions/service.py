"""Submits, finds and shows extractions. Functions run in the caller's transaction and raise Problem for invalid requests."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from sqlalchemy.orm import Session

from app.auth.sharing import Sharing, share
from app.auth.viewer import Viewer
from app.calibrations import service as calibrations
from app.errors import Problem, invalid, not_found
from app.extractions import limits, repository
from app.extractions.limits import Size
from app.extractions.models import Extraction, Vector
from app.extractions.repository import Place, VectorFilters
from app.extractions.results import ExtractionCost, ExtractionOut, VectorOut, extraction_view, vector_view
from app.extractions.schemas import ExtractionRequest
from app.jobs import repository as job_repository
from app.jobs.absence import absent
from app.jobs.estimates import seconds_for
from app.jobs.labels import Labels, labels_of
from app.jobs.models import Artifact
from app.jobs.reuse import find_reusable
from app.jobs.submission import Asker
from app.jobs.submitting import Answer, Placed, Plan, answer, check_admissible, edges_of, promised, reused, submitted, with_edge
from app.judges import service as judges
from app.models import repository as model_repository
from app.models import service as models
from app.models.context import check_context
from app.models.layers import layers_of
from app.models.models import Model
from app.models.reading import reading_of
from app.models.running import check_fits, running
from app.quotas.admission import admission
from app.text import check_text
from app.traits import service as traits
from app.traits import suitability
from app.traits.models import Trait
from terms.documents.model import ModelFactsDocument
from terms.methods import Method
from terms.specs import ExtractionSpec, Vetting


@dataclass(frozen=True)
class _Checked:
    """A checked request with everything that it refers to, except other jobs."""

    model: Model
    trait: Trait
    methods: list[Method]
    spec: ExtractionSpec
    cost: Size
    warnings: list[str]

    @property
    def needs_calibration(self) -> bool:
        return any(method.needs_calibration or method.base == "lm_loss" for method in self.methods)


def _check(session: Session, asker: Asker, request: ExtractionRequest) -> _Checked:
    viewer, limit = asker.viewer, asker.settings.limit
    check_text(request.model_dump(mode="json"))
    model = models.usable(session, request.model)
    facts = model.facts if model.state == "ready" else {}
    trait = traits.resolve(session, request.trait, viewer)
    _check_responses(request, trait)
    vetting: Vetting | None = None
    if request.vetting is not None:
        judge = judges.usable(session, request.vetting.judge, "/vetting/judge")
        vetting = {"judge": judge, "threshold": request.vetting.threshold, "paired": request.vetting.paired}
    methods, positions = limits.methods_of(request), limits.positions_of(request)
    limits.check_components(request, methods, facts)
    layers = layers_of(request.layers, request.model, facts)
    tokens = limits.new_tokens(request, positions, limit)
    check_context(request.model, facts, tokens)
    check_fits(session, model, tokens)
    keys = [method.key for method in methods]
    controls, refits = limits.controls_of(methods, request.controls), limits.refits_of(methods, request.refits)
    count = len(layers) if layers is not None else facts.get("layers", 1)
    grid = len(positions) * len(request.components) * count
    examples = trait.counts["positive"] + trait.counts["negative"]
    cost = limits.check_size(
        request, examples=examples, tokens=tokens, vectors=grid * len([*keys, *controls, *refits]), layers=count,
        width=facts.get("hidden_size"), positions=len(positions), limits=limit,
    )  # fmt: skip
    spec: ExtractionSpec = {
        "kind": "extract",
        "model": request.model,
        "weight_hash": facts.get("weight_hash"),
        "reading_hash": reading_of(model),
        "trait": {"name": trait.name, "version": trait.version},
        "positions": [str(position) for position in positions],
        "components": list(dict.fromkeys(request.components)),
        "layers": layers,
        "methods": keys,
        "controls": controls,
        "refits": refits,
        "calibration": None,
        "responses": request.responses,
        "special_tokens": request.special_tokens,
        "max_new_tokens": tokens,
        "validation_share": request.validation_share,
        "seed": request.seed,
        "resamples": request.resamples,
        "keep_rows": request.keep_rows and cost["rows_bytes"] <= limit.rows_bytes,
        "vetting": vetting,
        "rows_from": None,
    }
    if not facts:
        spec["limits"] = {"vectors": limit.extracted_vectors, "rows_bytes": limit.rows_bytes}
    if request.experiment is not None:
        spec["experiment"] = request.experiment
    if request.model_variant is not None:
        spec["model_variant"] = request.model_variant
    return _Checked(model, trait, methods, spec, cost, suitability.of_model(trait, request.model, facts))


def _check_responses(request: ExtractionRequest, trait: Trait) -> None:
    counts = trait.counts
    examples = counts["positive"] + counts["negative"]
    if request.responses == "given" and counts["given_responses"] < examples:
        detail = (
            f"{examples - counts['given_responses']:,} of {examples:,} examples of {trait.name} have no response in the dataset. Upload the "
            "trait with a `response` for every example, or let the model answer (responses: generate)."
        )
        raise invalid("/responses", "responses_missing", detail)


def rows_key(spec: ExtractionSpec, facts: ModelFactsDocument) -> str | None:
    """Returns a key for the rows that a spec reads: with equal keys, rows at the same position, component and layer are equal.

    Equal keys mean the same examples and responses. None while the model's weights, or how its texts are read, are unknown.
    """
    if spec["weight_hash"] is None or spec["reading_hash"] is None or spec["vetting"] is not None:
        return None
    of_the_rows = {
        "model": spec["model"],
        "weight_hash": spec["weight_hash"],
        "reading_hash": spec["reading_hash"],
        "trait": spec["trait"],
        "responses": spec["responses"],
        "special_tokens": spec["special_tokens"],
        "max_new_tokens": spec["max_new_tokens"],
        "tokenizer_hash": facts.get("tokenizer_hash"),
    }
    return hashlib.sha256(json.dumps(of_the_rows, sort_keys=True).encode()).hexdigest()


def plan(session: Session, asker: Asker, request: ExtractionRequest) -> Plan:
    """Plans the job, and submits the calibration that a method needs if there is none. Raises Problem 422."""
    checked = _check(session, asker, request)
    spec, after = checked.spec, edges_of(session, request, asker.viewer, checked.model.awaited)
    if request.calibration is not None or checked.needs_calibration:
        job, wait = calibrations.for_model(session, asker, request, request.calibration, checked.model)
        spec["calibration"] = {"job": job}
        after = with_edge(after, job) if wait else after
    spec["rows_key"] = rows_key(spec, checked.model.facts)
    return Plan("extract", "model", request.model, spec, after, warnings=checked.warnings)


def estimate(session: Session, asker: Asker, request: ExtractionRequest) -> ExtractionCost:
    """Returns the cost of the request; writes nothing. Raises Problem like `submit`."""
    checked = _check(session, asker, request)
    after, made, calibration = edges_of(session, request, asker.viewer, checked.model.awaited), 0, None
    if request.calibration is not None or checked.needs_calibration:
        after, made = calibrations.after_for_model(session, asker, request, request.calibration, checked.model, after)
        calibration = request.calibration or "the newest calibration of the model, or a new one"
    check_admissible(session, request, after, asker.viewer)
    return ExtractionCost(
        **running(session, checked.model, checked.spec["max_new_tokens"]),
        spec=checked.spec,
        estimated_seconds=seconds_for(repository.examples_and_seconds(session, request.model), checked.cost["examples"]),
        calibration=calibration,
        warnings=checked.warnings,
        admission=admission(session, asker.viewer.owner, jobs=1 + made),
        **checked.cost,
    )


def submit(session: Session, asker: Asker, request: ExtractionRequest, reuse: bool = False) -> Answer:
    """Submits the request with `place` and returns the job as the API shows it."""
    return answer(session, asker, place(session, asker, request, reuse))


def place(session: Session, asker: Asker, request: ExtractionRequest, reuse: bool = False) -> Placed:
    """Submits the job for this request, and the calibration that it needs, in one transaction; returns the job's row.

    Returns an earlier job when the idempotency key was used before, and with `reuse` possibly a finished job of the same calculation.
    """
    earlier = promised(session, asker)
    if earlier is not None:
        return earlier
    planned = plan(session, asker, request)
    if reuse:
        check_admissible(session, request, planned.after, asker.viewer)
        same = find_reusable(session, "extract", planned.spec, asker.viewer)
        if same is not None:
            return reused(session, asker, request, same)
        planned = _with_rows(session, planned, asker.viewer)
    return submitted(session, asker, planned, request)


def _with_rows(session: Session, planned: Plan, viewer: Viewer) -> Plan:
    """Returns the plan, which takes its rows from an earlier extraction that read the same, if one exists."""
    spec = cast(ExtractionSpec, planned.spec)
    key = spec.get("rows_key")
    if key is None:
        return planned
    layers = spec["layers"] or range(session.get_one(Model, planned.model).facts["layers"])
    earlier = repository.with_rows(
        session, viewer, key, positions=spec["positions"], components=spec["components"], layers=list(layers)
    )
    return planned if earlier is None else replace(planned, spec={**spec, "rows_from": earlier.job_id})


def existing(session: Session, identifier: str, viewer: Viewer) -> Extraction:
    """Returns the row of an extraction by its own id or its job's. Raises Problem 404, 409."""
    extraction = repository.find(session, identifier, viewer)
    if extraction is None:
        raise absent(session, "extraction", identifier, viewer, "extract")
    return extraction


def find(session: Session, identifier: str, viewer: Viewer) -> ExtractionOut:
    """Returns an extraction by its own id or its job's. Raises Problem 404, 409."""
    extraction = existing(session, identifier, viewer)
    labels = labels_of(session, [extraction.job_id])[extraction.job_id]
    return extraction_view(extraction, repository.vectors_of(session, extraction), labels, session.get(Model, extraction.model))


def listing(
    session: Session,
    viewer: Viewer,
    *,
    model: str | None,
    trait: str | None,
    labels: Labels,
    limit: int,
    before: tuple[datetime, str] | None,
) -> Sequence[ExtractionOut]:
    """Returns a page of extractions, newest first, without their vectors."""
    rows = repository.listing(session, viewer, model=model, trait=trait, labels=labels, limit=limit, before=before)
    labels_by_job = labels_of(session, [row.job_id for row in rows])
    models_by_name = model_repository.named(session, {row.model for row in rows})
    return [extraction_view(row, None, labels_by_job[row.job_id], models_by_name.get(row.model)) for row in rows]


def file(session: Session, identifier: str, name: str, viewer: Viewer) -> Artifact:
    """Returns a file of the extraction. Raises Problem 404, 409."""
    artifact = job_repository.artifact(session, existing(session, identifier, viewer).job_id, name)
    if artifact is None:
        raise not_found(f"{name} of extraction", identifier)
    return artifact


def vector(session: Session, vector_id: str, viewer: Viewer) -> Vector:
    """Returns the vector with this id if the viewer may see it. Raises Problem 404."""
    row = repository.vector(session, vector_id, viewer)
    if row is None:
        raise not_found("vector", vector_id)
    return row


def shown_vector(session: Session, vector_id: str, viewer: Viewer) -> VectorOut:
    """Returns the vector as the API shows it. Raises Problem 404."""
    row = vector(session, vector_id, viewer)
    return vector_view(row, session.get(Model, row.model))


def share_vector(session: Session, vector_id: str, to: Sharing, viewer: Viewer) -> VectorOut:
    """Sets the visibility of an imported vector. Raises Problem 403, 404, 422, and 409 for an extracted vector."""
    row = vector(session, vector_id, viewer)
    if row.extraction_id is not None:
        made_by = session.get_one(Extraction, row.extraction_id).job_id
        raise Problem(409, "follows_its_job", f"{vector_id} follows the job that made it: PATCH /v1/jobs/{made_by}.")
    share(session, row, vector_id, to, viewer)
    session.flush()
    return vector_view(row, session.get(Model, row.model))


def vectors(
    session: Session, viewer: Viewer, filters: VectorFilters, *, sort: str | None, limit: int, after: Place
) -> Sequence[VectorOut]:
    """Returns a page of vectors."""
    rows = repository.vectors(session, viewer, filters, sort=sort, limit=limit, after=after)
    models_by_name = model_repository.named(session, {row.model for row in rows})
    return [vector_view(row, models_by_name.get(row.model)) for row in rows]


def layer_of(
    session: Session, identifier: str, layer: int | None, position: str | None, component: str | None, viewer: Viewer
) -> list[Vector]:
    """Returns the vectors of one layer, position and component, the first of each if not named. Raises Problem 404, 409, 422."""
    extraction = existing(session, identifier, viewer)
    wanted = {
        "layer": extraction.layers[0] if layer is None else layer,
        "position": position or extraction.positions[0],
        "component": component or extraction.components[0],
    }
    rows = [
        row
        for row in repository.vectors_of(session, extraction)
        if all(getattr(row, name) == value for name, value in wanted.items())
    ]
    if not rows:
        have = (
            f"layers {', '.join(map(str, extraction.layers))}; positions {', '.join(extraction.positions)}; "
            f"components {', '.join(extraction.components)}"
        )
        raise Problem(422, "no_such_vectors", f"The extraction holds no vector at {wanted}. It has {have}.")
    return rows
