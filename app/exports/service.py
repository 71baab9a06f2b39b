"""Submits exports. Functions run in the caller's transaction and raise Problem for invalid requests."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.errors import invalid
from app.exports import repository
from app.exports.schemas import ExportRequest
from app.extractions import service as extractions
from app.extractions.models import Extraction
from app.jobs.labels import labels_of
from app.jobs.submission import Asker
from app.jobs.submitting import Answer, Plan, answer, check_edges, promised, submitted
from app.models import repository as models
from app.models.layers import check_layers
from app.text import check_text
from terms.components import RESIDUAL_COMPONENTS
from terms.specs import ExportSpec

V = TypeVar("V", int, str)
Site = tuple[Any, ...]
"""Position, component, method and layer of a vector."""
NAMED = 20
"""Most values that an error lists."""
PARTS = ("positions", "components", "methods", "layers")


def submit(session: Session, asker: Asker, identifier: str, request: ExportRequest) -> Answer:
    """Submits the job that writes the export. Raises Problem 404 and 422."""
    placed = promised(session, asker)
    if placed is None:
        placed = submitted(session, asker, _plan(session, identifier, request, asker.viewer), request)
    return answer(session, asker, placed)


def _plan(session: Session, identifier: str, request: ExportRequest, viewer: Viewer) -> Plan:
    check_text(request.model_dump(mode="json"))
    extraction = extractions.existing(session, identifier, viewer)
    model = models.find(session, extraction.model)
    facts = model.facts if model else {}
    check_layers(request.layers, extraction.model, facts)
    _check_selection(request, [tuple(row) for row in repository.places(session, extraction.id)])
    spec = _spec(session, extraction, request, facts.get("architecture", ""))
    return Plan("export", "light", extraction.model, spec, check_edges(session, request, viewer))


def _spec(session: Session, extraction: Extraction, request: ExportRequest, architecture: str) -> ExportSpec:
    labels = labels_of(session, [extraction.job_id])[extraction.job_id]
    return {
        "kind": "export",
        "format": request.format,
        "extraction": extraction.job_id,
        "model": extraction.model,
        "architecture": architecture,
        "weight_hash": extraction.weight_hash,
        "trait": {"name": extraction.trait, "version": extraction.trait_version},
        "experiment": labels.experiment,
        "model_variant": labels.model_variant,
        "positions": _chosen(request.positions),
        "components": _chosen(request.components),
        "methods": _chosen(request.methods),
        "layers": _chosen(request.layers),
    }


def _chosen(values: Sequence[V] | None) -> list[V] | None:
    return None if values is None else sorted(set(values))


def _check_selection(request: ExportRequest, places: list[Site]) -> None:
    """Raises Problem 422 for a value that no vector has, and for values that no vector has together."""
    for column, part in enumerate(PARTS):
        known = sorted({place[column] for place in places})
        for i, value in enumerate(getattr(request, part) or []):
            if value not in known:
                more = ", ..." if len(known) > NAMED else ""
                detail = (
                    f"/{part}/{i}: the extraction has no vector of {value!r}. It has: {', '.join(map(str, known[:NAMED]))}{more}."
                )
                raise invalid(f"/{part}/{i}", "unknown_selection", detail)
    left = [place for place in places if all(place[i] in (getattr(request, part) or [place[i]]) for i, part in enumerate(PARTS))]
    if request.format == "gguf":
        left = [place for place in left if place[1] in RESIDUAL_COMPONENTS and place[3] > 0]
    if not left:
        why = " that a control vector can hold (no layer 0, only residual coordinates)" if request.format == "gguf" else ""
        raise invalid(
            "", "nothing_to_export", f"None of the extraction's {len(places):,} vectors matches this selection{why}. Select more."
        )
