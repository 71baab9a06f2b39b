"""HTTP routes of calibrations: submit, list, get, download `calibration.json`."""

from typing import Annotated

from fastapi import Body, Path, Query, Request, Response
from fastapi.openapi.models import Example

from app.calibrations import service
from app.calibrations.results import CalibrationOut, CalibrationPage, CostOut
from app.calibrations.schemas import CalibrationRequest
from app.http.access import Caller, keyed_router
from app.http.context import Shared
from app.http.downloads import serve_file
from app.http.paging import Cursor, LabelQuery, Limit
from app.http.problems import documented
from app.jobs.asking import Asks, DryRun, Reuse, creates_job
from app.jobs.labels import Labels

router = keyed_router(prefix="/v1/calibrations", tag="calibrations")

EXAMPLES: dict[str, Example] = {
    "shipped prompts": {"summary": "All layers, the 50 shipped prompts", "value": {"model": "demo-severe"}},
    "own prompts": {
        "summary": "Your own prompts, three layers, short answers",
        "value": {
            "model": "demo-severe",
            "prompts": ["Name three rivers of Europe.", "Explain how a lock on a canal works."],
            "layers": [0, 4, 7],
            "max_new_tokens": 32,
            "name": "three layers",
            "tags": ["pilot"],
        },
    },
}
CalibrationId = Annotated[
    str,
    Path(
        pattern=r"^(cal|job)_[0-9a-z]{26}$",
        description="the id of the calibration, or of the job that made it",
        examples=["cal_01k9zq3m4e8v6t2y5w7x9abcde"],
    ),
]


@router.post(
    "",
    operation_id="submitCalibration",
    summary="Submit a calibration",
    **creates_job(413, 415, cost=CostOut),
)
async def submit_calibration(
    body: Annotated[CalibrationRequest, Body(openapi_examples=EXAMPLES)],
    asks: Asks,
    dry_run: DryRun = False,
    reuse: Reuse = False,
) -> Response:
    """Makes a job that finds the model's massive dimensions. With an Idempotency-Key, sending the request again never makes a second job."""
    if dry_run:
        return await asks.priced(service.estimate, body)
    return await asks.submitted(service.submit, body, reuse)


@router.get(
    "", operation_id="listCalibrations", summary="List calibrations", response_model=CalibrationPage, responses=documented(422)
)
async def list_calibrations(
    viewer: Caller,
    context: Shared,
    limit: Limit = 50,
    cursor: Cursor = None,
    model: Annotated[str | None, Query(max_length=200)] = None,
    experiment: LabelQuery = None,
    model_variant: LabelQuery = None,
) -> CalibrationPage:
    """Returns the calibrations that you can see, newest first."""
    labels = Labels(experiment, model_variant)

    return await CalibrationPage.newest(
        context,
        lambda session, before, count: service.listing(session, viewer, model=model, labels=labels, limit=count, before=before),
        scope=f"calibrations {model} {labels}",
        limit=limit,
        cursor=cursor,
        key=lambda calibration: (calibration.created_at, calibration.id),
    )


@router.get("/{calibration_id}", operation_id="getCalibration", summary="Get a calibration", responses=documented(404, 409, 422))
async def get_calibration(calibration_id: CalibrationId, viewer: Caller, context: Shared) -> CalibrationOut:
    """Returns the calibration's verdict and where its file is. `stale`: the model's weights have changed since."""
    return await context.database.read(service.find, calibration_id, viewer)


@router.get(
    "/{calibration_id}/calibration.json",
    operation_id="getCalibrationFile",
    summary="Download calibration.json",
    response_class=Response,
    responses={
        200: {"description": "The file", "content": {"application/json": {"schema": {"type": "object"}}}},
        206: {"description": "The requested range"},
        304: {"description": "Not modified: you have this version"},
        307: {"description": "Redirect to the object store; the address is valid for a few minutes"},
        **documented(404, 409, 416, 422),
    },
)
async def get_calibration_file(calibration_id: CalibrationId, request: Request, viewer: Caller, context: Shared) -> Response:
    """Returns calibration.json. The ETag is the file's SHA-256; one Range at a time."""
    return await serve_file(
        request, context, viewer, lambda session, who: service.file(session, calibration_id, who), prefix=f"{calibration_id}."
    )
