"""Database statements for extractions and vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.auth.viewer import Viewer
from app.auth.visibility import seen
from app.extractions.models import METRICS, Extraction, Vector
from app.jobs.labels import Labels, made_with
from app.jobs.models import Artifact, Job
from app.jobs.repository import made_by_visible
from app.jobs.states import State
from app.settled import settled
from binnacle.words.massive import DEFAULT_RULE
from terms.specs import SPECIAL_TOKENS, SpecialTokens

SORTS: dict[str, InstrumentedAttribute[float | None]] = {metric: getattr(Vector, metric) for metric in METRICS}


@dataclass(frozen=True)
class VectorFilters:
    """Filters of a list of vectors; None means no filter."""

    model: str | None = None
    trait: str | None = None
    method: str | None = None
    layer: int | None = None
    position: str | None = None
    component: str | None = None
    source: str | None = None
    extraction: str | None = None


def _extractions(viewer: Viewer) -> Select[Extraction]:
    return select(Extraction).where(made_by_visible(Extraction.job_id, viewer))


def vector_seen(viewer: Viewer) -> ColumnElement[bool]:
    """Returns the condition on vectors that a viewer may see."""
    return seen(Vector, viewer)


def _vectors(viewer: Viewer) -> Select[Vector]:
    return select(Vector).where(vector_seen(viewer))


@settled
def find(session: Session, identifier: str, viewer: Viewer) -> Extraction | None:
    """Returns the extraction with its own id or the id of its job, if the viewer may see it."""
    return session.scalars(
        _extractions(viewer).where(or_(Extraction.id == identifier, Extraction.job_id == identifier))
    ).one_or_none()


def listing(
    session: Session,
    viewer: Viewer,
    *,
    model: str | None,
    trait: str | None,
    labels: Labels,
    limit: int,
    before: tuple[datetime, str] | None,
) -> Sequence[Extraction]:
    """Returns a page of extractions, newest first; `before` is the `(created_at, id)` of the last entry of the previous page."""
    statement = _extractions(viewer).where(*made_with(Extraction.job_id, labels))
    statement = statement.order_by(Extraction.created_at.desc(), Extraction.id.desc()).limit(limit)
    for column, value in ((Extraction.model, model), (Extraction.trait, trait)):
        if value is not None:
            statement = statement.where(column == value)
    if before is not None:
        statement = statement.where(tuple_(Extraction.created_at, Extraction.id) < before)
    return session.scalars(statement).all()


def with_rows(
    session: Session, viewer: Viewer, rows_key: str, *, positions: Sequence[str], components: Sequence[str], layers: Sequence[int]
) -> Extraction | None:
    """Returns the newest extraction that the viewer may see and that stored its captured rows for all these positions, components and layers.

    With equal values of `rows_key`, rows at the same position, component and layer are equal.
    """
    statement = (
        _extractions(viewer)
        .join(Artifact, Artifact.job_id == Extraction.job_id)
        .where(
            Artifact.name == "rows.safetensors",
            Extraction.rows_key == rows_key,
            Extraction.positions.contains(list(positions)),
            Extraction.components.contains(list(components)),
            Extraction.layers.contains(list(layers)),
        )
    )
    return session.scalars(statement.order_by(Extraction.created_at.desc()).limit(1)).one_or_none()


def vectors_of(session: Session, extraction: Extraction) -> Sequence[Vector]:
    """Returns every vector of an extraction, sorted by position and component in the requested order, then by layer.

    Within a layer, the requested methods come first in their order, then the other vectors by name.
    """
    methods = {key: place for place, key in enumerate(extraction.methods)}

    def place(row: Vector) -> tuple[int, int, int, int, str]:
        method = methods.get(row.method, len(methods))
        position, component = extraction.positions.index(row.position or ""), extraction.components.index(row.component)
        return position, component, row.layer, method, row.method

    return sorted(session.scalars(select(Vector).where(Vector.extraction_id == extraction.id)), key=place)


def vector(session: Session, vector_id: str, viewer: Viewer) -> Vector | None:
    """Returns the vector if the viewer may see it."""
    return session.scalars(_vectors(viewer).where(Vector.id == vector_id)).one_or_none()


def vectors_named(session: Session, ids: Sequence[str], viewer: Viewer) -> dict[str, Vector]:
    """Returns the vectors with these ids that the viewer may see, by id."""
    if not ids:
        return {}
    return {row.id: row for row in session.scalars(_vectors(viewer).where(Vector.id.in_(ids)))}


@dataclass(frozen=True)
class Place:
    """A place in a list of vectors: after the vector with this sort key (its time, or the metric) and id; or, without these, after `skip`
    vectors."""

    key: datetime | float | None = None
    id: str | None = None
    skip: int = 0


def vectors(
    session: Session, viewer: Viewer, filters: VectorFilters, *, sort: str | None, limit: int, after: Place
) -> Sequence[Vector]:
    """Returns a page of vectors, newest first or by a separation metric (`-` for descending; vectors without the metric come last)."""
    statement = _vectors(viewer)
    for column, value in (
        (Vector.model, filters.model),
        (Vector.trait, filters.trait),
        (Vector.method, filters.method),
        (Vector.layer, filters.layer),
        (Vector.position, filters.position),
        (Vector.component, filters.component),
        (Vector.source, filters.source),
        (Vector.extraction_id, filters.extraction),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if sort is None:
        statement = statement.order_by(Vector.created_at.desc(), Vector.id.desc())
    else:
        metric = SORTS[sort.removeprefix("-")]
        statement = statement.order_by((metric.desc() if sort.startswith("-") else metric.asc()).nulls_last(), Vector.id)
    rows = session.scalars(statement.where(_past(sort, after)).limit(limit).offset(after.skip)).all()
    if sort is None or after.key is None or len(rows) == limit:
        return rows
    # those without the metric are read apart: with both in one condition, the index is read from its beginning
    return [*rows, *session.scalars(statement.where(SORTS[sort.removeprefix("-")].is_(None)).limit(limit - len(rows)))]


def _past(sort: str | None, after: Place) -> ColumnElement[bool]:
    """Returns the condition on vectors that come after this place in the order of `sort`; after one with the metric, only those that have it."""
    if after.id is None:
        return true()
    if sort is None:
        return tuple_(Vector.created_at, Vector.id) < (after.key, after.id)
    metric = SORTS[sort.removeprefix("-")]
    if after.key is None:
        return and_(metric.is_(None), Vector.id > after.id)
    here, further = (
        (metric <= after.key, metric < after.key) if sort.startswith("-") else (metric >= after.key, metric > after.key)
    )
    return and_(here, or_(further, Vector.id > after.id))


def newest_with(  # noqa: PLR0913 - what makes two extractions equal, each by name
    session: Session,
    viewer: Viewer,
    *,
    model: str,
    weight_hash: str,
    reading_hash: str,
    trait_version: str,
    special_tokens: SpecialTokens,
    methods: Sequence[str],
    layers: Sequence[int],
    positions: Sequence[str],
    components: Sequence[str],
) -> Extraction | None:
    """Returns the newest extraction of this trait with these weights, this reading_hash, special tokens read in this way, and all these parts.

    Some are used only on request: those with vectors cleaned by a list of massive dims of another rule than the default; and another user's
    that was made from given or vetted responses, which the service does not do by itself.
    """
    of_another_rule = select(Vector.id).where(
        Vector.extraction_id == Extraction.id,
        Vector.facts["massive", "dims"].astext.is_not(None),
        Vector.facts["massive", "rule"].astext.is_distinct_from(DEFAULT_RULE),
    )
    statement = _extractions(viewer).where(
        Extraction.model == model,
        Extraction.weight_hash == weight_hash,
        Extraction.reading_hash == reading_hash,
        Extraction.trait_version == trait_version,
        Extraction.methods.contains(list(methods)),
        Extraction.layers.contains(list(layers)),
        Extraction.positions.contains(list(positions)),
        Extraction.components.contains(list(components)),
        ~of_another_rule.exists(),
    )
    as_made = and_(Job.spec["responses"].astext == "generate", Job.spec["vetting"].astext.is_(None))
    statement = statement.join(Job, Job.id == Extraction.job_id).where(
        func.coalesce(Job.spec["special_tokens"].astext, SPECIAL_TOKENS) == special_tokens,
        or_(Job.owner == viewer.owner, as_made),
    )
    return session.scalars(statement.order_by(Extraction.created_at.desc(), Extraction.id.desc()).limit(1)).one_or_none()


@settled
def examples_and_seconds(session: Session, model: str) -> list[tuple[float, float]]:
    """Returns examples and device seconds of the model's last ten extractions."""
    last = (
        select(Job.result["extraction", "summary", "examples"].as_integer(), Job.device_seconds)
        .where(Job.kind == "extract", Job.model == model, Job.state == State.SUCCEEDED)
        .order_by(Job.created_at.desc())
        .limit(10)
    )
    return [(size, seconds) for size, seconds in session.execute(last) if size is not None]
