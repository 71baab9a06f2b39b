"""HTTP routes of vectors: list, show, share, download."""

import re
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.auth.sharing import ShareRequest
from app.errors import invalid
from app.etags import etag_of, names_etag
from app.extractions import service
from app.extractions.cosines import read_vectors
from app.extractions.repository import Place, VectorFilters
from app.extractions.results import VectorOut, VectorPage
from app.formats.registry import write_vectors
from app.formats.vectors import NamedVector, Origin, Unwritable
from app.http.access import Caller, Member, keyed_router
from app.http.context import Shared
from app.http.cursors import Cursors
from app.http.problems import documented
from app.ids import id_pattern
from app.storage.disposition import attachment

router = keyed_router(prefix="/v1/vectors", tag="vectors")

VectorId = Annotated[str, Path(pattern=id_pattern("vec"), examples=["vec_01k9zq3m4e8v6t2y5w7x9abcde"])]
Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]
SKIPPED = re.compile(r"[0-9]{1,6}")
Sort = Literal["accuracy", "-accuracy", "cohens_d", "-cohens_d", "auroc", "-auroc", "massive_share", "-massive_share"]


@router.get("", operation_id="listVectors", summary="Find vectors", response_model=VectorPage, responses=documented(422))
async def list_vectors(  # one parameter for each filter of the query string
    viewer: Caller,
    context: Shared,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[
        str | None, Query(max_length=500, description="`next_cursor` of the page before, or a number of vectors to skip")
    ] = None,
    model: Text = None,
    trait: Text = None,
    method: Text = None,
    layer: Annotated[int | None, Query(ge=0, le=10_000)] = None,
    position: Text = None,
    component: Text = None,
    source: Literal["extracted", "imported"] | None = None,
    extraction: Annotated[str | None, Query(pattern=id_pattern("ext"))] = None,
    sort: Annotated[
        Sort | None, Query(description="a separation metric, with - for descending; it does not predict steering")
    ] = None,
) -> VectorPage:
    """Returns the vectors that you may see, newest first, or sorted by a separation metric. A cursor works only with the same filters."""
    filters = VectorFilters(model, trait, method, layer, position, component, source, extraction)
    scope = f"vectors {filters} {sort}"
    after = _place(context.cursors, scope, cursor, by_time=sort is None)
    items = await context.database.read(service.vectors, viewer, filters, sort=sort, limit=limit + 1, after=after)
    return VectorPage.of(items, limit, lambda last: context.cursors.seal(scope, _key(last, sort), last.id))


def _place(cursors: Cursors, scope: str, cursor: str | None, *, by_time: bool) -> Place:
    """Returns the place after which the page begins. Raises Problem 422 for a cursor of another list."""
    if cursor is None or SKIPPED.fullmatch(cursor):  # a number was the cursor of earlier versions
        return Place(skip=int(cursor or 0))
    key, last = cursors.open(scope, cursor)
    return Place(datetime.fromisoformat(str(key)), last) if by_time else Place(None if key is None else float(key), last)


def _key(vector: VectorOut, sort: str | None) -> str | float | None:
    """Returns the value by which the list is sorted: the vector's time as text, or its metric."""
    metric = (sort or "").removeprefix("-")
    if not metric:
        return vector.created_at.isoformat()
    return vector.massive_share if metric == "massive_share" else vector.separation[metric]


@router.get("/{vector_id}", operation_id="getVector", summary="Get a vector", responses=documented(404, 422))
async def get_vector(vector_id: VectorId, viewer: Caller, context: Shared) -> VectorOut:
    """Returns all stored facts of the vector; its numbers are a download."""
    return await context.database.read(service.shown_vector, vector_id, viewer)


@router.patch(
    "/{vector_id}",
    operation_id="shareVector",
    summary="Share an imported vector, or make it private",
    responses=documented(400, 403, 404, 409, 413, 415, 422),
)
async def share_vector(vector_id: VectorId, body: ShareRequest, viewer: Member, context: Shared) -> VectorOut:
    """Changes who may see an imported vector. An extracted vector is shared with the job that made it. For its owner and administrators."""
    return await context.database.run(service.share_vector, vector_id, body, viewer)


@router.get(
    "/{vector_id}/download",
    operation_id="downloadVector",
    summary="Download a vector",
    response_class=Response,
    responses={
        200: {"description": "The file"},
        304: {"description": "Not modified: you have this version"},
        **documented(404, 422),
    },
)
async def download_vector(
    vector_id: VectorId,
    request: Request,
    viewer: Caller,
    context: Shared,
    file_format: Annotated[
        Literal["safetensors", "gguf", "npy"],
        Query(alias="format", description="a .pt comes from an export job: POST /v1/extractions/{id}/exports"),
    ] = "safetensors",
) -> Response:
    """Returns a file with one float32 vector of norm 1. GGUF is a control vector for llama.cpp and repeng; it cannot hold layer 0."""
    row = await context.database.read(service.vector, vector_id, viewer)
    [numbers] = await run_in_threadpool(read_vectors, context.storage, [row])
    vector = NamedVector(numbers, row.layer, row.component, row.method, row.position)
    origin = Origin(row.model, "", row.weight_hash, row.trait, row.trait_version)
    try:
        data, media_type, notes = write_vectors(file_format, [vector], origin)
    except Unwritable as error:
        raise invalid("", "not_in_this_format", str(error)) from error
    etag = etag_of(data)
    headers = {
        "ETag": etag,
        "Cache-Control": "private, no-cache",
        "Content-Disposition": attachment(f"{vector_id}.{file_format}"),
    }
    if notes:
        headers["Binnacle-Notes"] = "; ".join(notes).encode("ascii", "replace").decode()
    if names_etag(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)
