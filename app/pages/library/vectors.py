"""Shows vectors: search, facts and origin of each, cosines between chosen vectors, and downloads."""

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel, BeforeValidator, Field
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.errors import Problem
from app.extractions import service
from app.extractions.cosines import cosines_between, massive_of
from app.extractions.models import Vector
from app.extractions.repository import Place, VectorFilters
from app.extractions.results import VectorOut, VectorPage
from app.extractions.vector_routes import VectorId, download_vector
from app.http.context import Shared
from app.ids import id_pattern
from app.models import service as models
from app.pages.doors import Reader, page_router
from app.pages.forms.choices import named
from app.pages.plots.elements import Figure
from app.pages.plots.heat import heat
from app.pages.rendering import base_of, page
from app.pages.results.parts import kept
from app.pages.wording import number
from terms.components import RESIDUAL_COMPONENTS

router = page_router()

PER_PAGE = 50
MOST_COMPARED = 24
Words = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
Layer = Annotated[int | None, Field(ge=0, le=10_000), BeforeValidator(lambda value: None if value == "" else value)]
SORTS = {
    "": "newest first",
    "-accuracy": "most separating first",
    "-massive_share": "largest massive share first",
    "massive_share": "smallest massive share first",
}


class Asked(BaseModel):
    """The parameters of the address."""

    model: Words = ""
    trait: Words = ""
    method: Words = ""
    layer: Layer = None
    extraction: Annotated[str, Field(pattern=rf"^$|{id_pattern('ext')}")] = ""
    sort: Literal["", "-accuracy", "-massive_share", "massive_share"] = ""
    start: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    def query(self, **changed: str | int | None) -> str:
        """Returns the query of this view with these changes."""
        values = {**self.model_dump(), **changed}
        return urlencode({name: value for name, value in values.items() if value != Asked.model_fields[name].default})


@router.get("/vectors")
async def vectors_page(request: Request, viewer: Reader, context: Shared, asked: Annotated[Asked, Query()]) -> Response:
    """Shows the list of vectors, filtered and sorted by the parameters."""
    filters = VectorFilters(
        model=asked.model or None, trait=asked.trait or None, method=asked.method or None, layer=asked.layer,
        extraction=asked.extraction or None,
    )  # fmt: skip

    def look(session: Session) -> tuple[list[str], list[VectorOut]]:
        rows = service.vectors(
            session, viewer, filters, sort=asked.sort or None, limit=PER_PAGE + 1, after=Place(skip=asked.start)
        )
        return [model.name for model in models.listing(session, limit=200, after=None)], list(rows)

    names, rows = await context.database.read(look)
    listed = VectorPage.of(rows, PER_PAGE, lambda _: str(asked.start + PER_PAGE))
    return page(
        request, "vectors.jinja", asked=asked, names=names, rows=listed.items, sorts=SORTS, most=MOST_COMPARED,
        further=listed.next_cursor, earlier=max(0, asked.start - PER_PAGE),
    )  # fmt: skip


@router.get("/vectors/cosines")
async def cosines_page(
    request: Request,
    viewer: Reader,
    context: Shared,
    v: Annotated[list[Annotated[str, Field(pattern=id_pattern("vec"))]], Query(max_length=MOST_COMPARED)] = [],  # noqa: B006
) -> Response:
    """Shows the cosine of each chosen vector with each other one, before and after cleaning."""
    chosen = list(dict.fromkeys(v))
    if len(chosen) < 2:
        raise Problem(422, "too_few_vectors", "Choose two or more vectors in the list, then Compare.")

    def look(session: Session) -> tuple[list[Vector], list[VectorOut]]:
        return [service.vector(session, vector_id, viewer) for vector_id in chosen], _shown(session, chosen, viewer)

    rows, shown = await context.database.read(look)
    before, after = await cosines_between(context, rows)
    parts = kept(_matrix("As they are", before, shown), _matrix("Without massive dimensions", after, shown, _unclean(rows)))
    return page(request, "cosines.jinja", parts=parts, rows=list(zip(shown, map(_cleaned, rows), strict=True)), job=None)


def _shown(session: Session, ids: list[str], viewer: Viewer) -> list[VectorOut]:
    return [service.shown_vector(session, vector_id, viewer) for vector_id in ids]


def _cleaned(row: Vector) -> str:
    """Returns what the second matrix does to this vector."""
    dims = massive_of(row)
    if dims is not None:
        return f"without dimension{'s' * (len(dims) > 1)} {', '.join(map(str, dims))}" if dims else "has no massive dimensions"
    if row.component not in RESIDUAL_COMPONENTS:
        return f"not cleaned: massive dimensions belong to the residual stream, not to {row.component}"
    return "not cleaned: no calibration lists its massive dimensions"


def _unclean(rows: list[Vector]) -> str:
    """Returns which vectors the second matrix shows as they are, by their numbers."""
    numbers = [str(at) for at, row in enumerate(rows, 1) if massive_of(row) is None]
    return f" Not cleaned: vector{'s' * (len(numbers) > 1)} {', '.join(numbers)}." if numbers else ""


def _matrix(title: str, cosines: list[list[float]], vectors: list[VectorOut], more: str = "") -> Figure | None:
    numbers = [str(at + 1) for at in range(len(vectors))]
    rows = [f"{at}: {vector.method}, layer {vector.layer}" for at, vector in zip(numbers, vectors, strict=True)]
    cells = {(rows[a], numbers[b]): value for a, line in enumerate(cosines) for b, value in enumerate(line)}
    return heat(
        title,
        f"Cosine of each vector with every other; the list below names them.{more}",
        cells,
        rows,
        numbers,
        "vector",
        ends=(min(0.0, *cells.values()), 1.0),
    )


@router.get("/vectors/{vector_id}")
async def vector_page(vector_id: VectorId, request: Request, viewer: Reader, context: Shared) -> Response:
    """Shows a vector: its lineage, its facts, and downloads. 404 if the viewer may not see it."""

    def look(session: Session) -> tuple[VectorOut, str | None, str | None]:
        vector = service.shown_vector(session, vector_id, viewer)
        if vector.extraction is None:
            return vector, None, None
        made = service.existing(session, vector.extraction, viewer)
        return vector, made.job_id, made.calibration_job

    vector, job, calibration = await context.database.read(look)
    trait = f"{vector.trait}@{vector.trait_version[:12]}" if vector.trait and vector.trait_version else vector.trait or ""
    return page(
        request, "vector.jinja", vector=vector, name=named(vector), trait=trait, made_by=job, calibration=calibration, facts=_facts(vector),
        base=base_of(request),
    )  # fmt: skip


def _facts(vector: VectorOut) -> list[tuple[str, str]]:
    massive = vector.facts.get("massive") or {}
    stability = vector.facts.get("stability") or {}
    rows = [
        ("width", number(vector.width, 9)),
        ("norm before it was scaled to one", number(vector.norm)),
        *((f"separation, {name.replace('_', ' ')}", number(value)) for name, value in vector.separation.items()),
        ("share of its squared norm in massive dimensions", number(vector.massive_share)),
        ("massive dimensions", ", ".join(map(str, massive.get("dims") or []))),
        ("rule that chose them", vector.massive_rule or ""),
        ("cosine of two halves of the examples", number(stability.get("split_half_cosine"))),
        ("weights, SHA-256", vector.weight_hash or ""),
    ]
    return [(name, value) for name, value in rows if value]


@router.get("/vectors/{vector_id}/download")
async def vector_file(
    vector_id: VectorId,
    request: Request,
    viewer: Reader,
    context: Shared,
    file_format: Annotated[Literal["safetensors", "gguf", "npy"], Query(alias="format")] = "safetensors",
) -> Response:
    """Downloads the vector as a file, as the API writes it."""
    return await download_vector(vector_id, request, viewer, context, file_format)
