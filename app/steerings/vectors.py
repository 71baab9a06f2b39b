"""Chooses a steering's vectors: by id, or from an extraction, finished or not."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.errors import invalid
from app.extractions import repository as extractions
from app.extractions.models import Extraction, Vector
from app.models.models import Model
from app.steerings import siblings
from app.steerings.asked import Asked
from app.steerings.extracted import Made, Make, take
from terms.methods import is_control
from terms.specs import VectorsOf, VectorSpec


@dataclass(frozen=True)
class Vectors:
    """The vectors of a steering: named by id, or from an extraction (finished or not).

    `vectors` and `sources` are as specs hold them. `extraction` is the job of the trait's own extraction on this model, which the reference
    judge reads; `wait_for` is the extraction's job while it has not ended. `cells` counts vectors, `groups` counts vectors that differ in
    more than their layer, `refits` counts those fitted on resampled prompts in the same way.
    """

    cells: int
    groups: int
    refits: int = 0
    vectors: Sequence[VectorSpec] = ()
    sources: Sequence[VectorsOf] = ()
    extraction: str | None = None
    wait_for: str | None = None
    made: Made | None = None


def chosen(session: Session, asked: Asked, make: Make) -> Vectors:
    """Returns the vectors that the request names or describes; if it does neither, those of an extraction that `make` submits first.

    Raises Problem 422 for each vector that cannot be used on this model.
    """
    return _named(session, asked) if asked.request.vectors else _of_an_extraction(session, asked, make)


def vectors_by_id(session: Session, ids: Sequence[str], viewer: Viewer, model: Model, *, sibling: bool) -> list[Vector]:
    """Returns the vectors with these ids; with `sibling`, also vectors of a model with the same layers and widths.

    Raises Problem 422, with a pointer into `/vectors`, for each vector that cannot be used on this model.
    """
    rows, seen = [], extractions.vectors_named(session, ids, viewer)
    for i, vector_id in enumerate(ids):
        row = seen.get(vector_id)
        if row is None:
            raise invalid(f"/vectors/{i}", "unknown_vector", f"There is no vector {vector_id} that you may see.")
        _check_vector(row, siblings.source(session, row.model, model, f"/vectors/{i}", sibling=sibling), f"/vectors/{i}")
        rows.append(row)
    return rows


def as_named(row: Vector, model: Model) -> VectorSpec:
    """Returns a vector as specs hold it; for a vector of another model also that model, and its massive dims in the vector."""
    named: VectorSpec = {
        "id": row.id, "digest": row.digest, "key": row.key, "method": row.method, "layer": row.layer, "component": row.component,
        "position": row.position,
    }  # fmt: skip
    if row.model == model.name:
        return named
    return {**named, "source": siblings.facts(row.model, row.weight_hash), "facts": {"massive": row.facts.get("massive")}}


def _named(session: Session, asked: Asked) -> Vectors:
    """Returns the vectors that the request names by id."""
    request, model = asked.request, asked.model
    ids = request.vectors or ()
    rows = list(dict.fromkeys(vectors_by_id(session, ids, asked.viewer, model, sibling=request.sibling)))
    if all(is_control(row.method) for row in rows):
        raise invalid(
            "/vectors", "only_controls",
            "All of the vectors are controls (random, or fitted on shuffled labels), and a control cannot lead. Name the vector that they are "
            "compared with; an imported vector can be given another method (/method of the import).",
        )  # fmt: skip
    _check_places(rows, ids)
    version = asked.trait.version
    sources = [
        row.extraction_id for row in rows if row.extraction_id and row.trait_version == version and row.model == model.name
    ]
    extraction = session.get(Extraction, sources[0]) if sources else None
    return Vectors(
        cells=len(rows),
        groups=len({_group(row) for row in rows}),
        vectors=[as_named(row, model) for row in rows],
        extraction=None if extraction is None else extraction.job_id,
    )


def _group(row: Vector) -> tuple[str, str | None, str, str]:
    """Returns what vectors that compete only by their layer have in common."""
    return row.model, row.position, row.component, row.method


def _check_places(rows: Sequence[Vector], ids: Sequence[str]) -> None:
    """Raises Problem 422 for two vectors of one group at one layer: a result names its vectors by group and layer."""
    places: dict[tuple[object, ...], Vector] = {}
    for row in rows:
        other = places.setdefault((*_group(row), row.layer), row)
        if other is not row:
            detail = (
                f"{row.id} and {other.id} are both {row.key} of {row.model}, so the result could not tell them apart. Steer with each in a "
                "steering of its own; imported vectors can also be given different methods (/method of the import)."
            )
            raise invalid(f"/vectors/{ids.index(row.id)}", "same_place", detail)


def _check_vector(row: Vector, model: Model, pointer: str) -> None:
    """Raises Problem 422 for a vector from other weights; `model` is the model that the vector was made on."""
    facts = model.facts if model.state == "ready" else {}
    if row.weight_hash is not None and facts.get("weight_hash") not in (None, row.weight_hash):
        detail = f"{row.id} was made from other weights of {model.name} (sha256 {row.weight_hash[:12]}). Extract it again."
        raise invalid(pointer, "vector_of_other_weights", detail)


def _of_an_extraction(session: Session, asked: Asked, make: Make) -> Vectors:
    """Returns the vectors of an extraction that the request describes."""
    taken = take(session, asked, make)
    source = taken.source
    return Vectors(
        cells=taken.parts.groups * len(taken.parts.layers),
        groups=taken.parts.groups,
        refits=taken.refits.groups,
        sources=[taken.asked],
        extraction=source.job if taken.own else None,
        wait_for=source.job if source.row is None else None,
        made=source.made,
    )
