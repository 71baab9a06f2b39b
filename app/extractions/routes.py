"""HTTP routes of extractions: submit, list, show the vectors' facts, download."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Body, Path, Query, Request, Response
from fastapi.openapi.models import Example
from sqlalchemy.orm import Session

from app.extractions import service
from app.extractions.cosines import cosines_of
from app.extractions.results import CosinesOut, ExtractionCost, ExtractionOut, ExtractionPage
from app.extractions.schemas import ExtractionRequest
from app.http.access import Caller, keyed_router
from app.http.context import Shared
from app.http.downloads import serve_file
from app.http.paging import Cursor, LabelQuery, Limit
from app.http.problems import documented
from app.jobs.asking import Asks, DryRun, creates_job
from app.jobs.labels import Labels
from app.moments import TimeAndId

router = keyed_router(prefix="/v1/extractions", tag="extractions")

EXAMPLES: dict[str, Example] = {
    "defaults": {
        "summary": "mean_diff, its row-normalised twin and the probe, all layers",
        "value": {"model": "demo-severe", "trait": "refusal"},
    },
    "cleaned": {
        "summary": "Cleaned of massive dims, two positions, three layers",
        "value": {
            "model": "demo-severe",
            "trait": "refusal",
            "methods": ["mean_diff", "mean_diff_cleaned", "probe_top1", {"method": "gradient", "steps": 500}],
            "positions": ["response[:5]", "prompt[-1]"],
            "layers": [2, 3, 4],
        },
    },
}
ExtractionId = Annotated[
    str,
    Path(
        pattern=r"^(ext|job)_[0-9a-z]{26}$",
        description="the id of the extraction, or of its job",
        examples=["ext_01k9zq3m4e8v6t2y5w7x9abcde"],
    ),
]
FileName = Literal["extraction.json", "vectors.safetensors", "responses.jsonl", "rows.safetensors"]


@router.post(
    "",
    operation_id="submitExtraction",
    summary="Submit an extraction",
    **creates_job(413, 415, cost=ExtractionCost),
)
async def submit_extraction(
    body: Annotated[ExtractionRequest, Body(openapi_examples=EXAMPLES)],
    asks: Asks,
    dry_run: DryRun = False,
    reuse: Annotated[
        bool,
        Query(
            description="use a finished job of the same calculation, or the rows that an earlier extraction captured, if you may read them"
        ),
    ] = False,
) -> Response:
    """Makes a job that extracts vectors of a trait from a model by every requested method."""
    if dry_run:
        return await asks.priced(service.estimate, body)
    return await asks.submitted(service.submit, body, reuse)


@router.get(
    "", operation_id="listExtractions", summary="List extractions", response_model=ExtractionPage, responses=documented(422)
)
async def list_extractions(  # one parameter for each filter of the query string
    viewer: Caller,
    context: Shared,
    limit: Limit = 50,
    cursor: Cursor = None,
    model: Annotated[str | None, Query(max_length=200)] = None,
    trait: Annotated[str | None, Query(max_length=100)] = None,
    experiment: LabelQuery = None,
    model_variant: LabelQuery = None,
) -> ExtractionPage:
    """Returns the extractions that you can see, newest first."""
    labels = Labels(experiment, model_variant)

    def page(session: Session, before: TimeAndId | None, count: int) -> Sequence[ExtractionOut]:
        return service.listing(session, viewer, model=model, trait=trait, labels=labels, limit=count, before=before)

    return await ExtractionPage.newest(
        context,
        page,
        scope=f"extractions {model} {trait} {labels}",
        limit=limit,
        cursor=cursor,
        key=lambda extraction: (extraction.created_at, extraction.id),
    )


@router.get(
    "/{extraction_id}",
    operation_id="getExtraction",
    summary="Get an extraction and what its vectors are made of",
    responses=documented(404, 409, 422),
)
async def get_extraction(extraction_id: ExtractionId, viewer: Caller, context: Shared) -> ExtractionOut:
    """Returns the extraction with facts of each vector: the share of massive dims and of sampling noise, separation, stability."""
    return await context.database.read(service.find, extraction_id, viewer)


@router.get(
    "/{extraction_id}/cosines",
    operation_id="getCosines",
    summary="Cosines between the vectors of a layer",
    responses=documented(404, 409, 422),
)
async def get_cosines(
    extraction_id: ExtractionId,
    viewer: Caller,
    context: Shared,
    layer: Annotated[int | None, Query(ge=0, description="the extraction's first when left out")] = None,
    position: Annotated[str | None, Query(max_length=40)] = None,
    component: Annotated[str | None, Query(max_length=30)] = None,
) -> CosinesOut:
    """Returns the cosines between the vectors of one layer, position and component, before and after cleaning. Controls and
    refits are left out."""
    rows = await context.database.read(service.layer_of, extraction_id, layer, position, component, viewer)
    return await cosines_of(context, rows)


@router.get(
    "/{extraction_id}/{name}",
    operation_id="getExtractionFile",
    summary="Download a file of the result",
    response_class=Response,
    responses={
        200: {"description": "The file"},
        206: {"description": "The requested range"},
        304: {"description": "Not modified: you have this version"},
        307: {"description": "Redirect to the object store; the address is valid for a few minutes"},
        **documented(404, 409, 416, 422),
    },
)
async def get_extraction_file(
    extraction_id: ExtractionId, name: FileName, request: Request, viewer: Caller, context: Shared
) -> Response:
    """Returns a file of the extraction; `rows.safetensors` exists when the rows were kept. The ETag is the file's SHA-256; one Range at
    a time."""
    return await serve_file(
        request, context, viewer, lambda session, who: service.file(session, extraction_id, name, who), prefix=f"{extraction_id}."
    )
