"""Exports over HTTP: a job that writes an extraction, or calibrations, as another program's files."""

from typing import Annotated

from fastapi import Body, Path, Response

from app.calibrations.routes import CalibrationId
from app.exports import calibrations, service
from app.exports.calibrations import CalibrationExportRequest
from app.exports.schemas import ExportRequest
from app.http.access import keyed_router
from app.http.problems import documented
from app.jobs.asking import Asks
from app.jobs.schemas import JobOut
from terms.values import JsonField

router = keyed_router(prefix="/v1/extractions", tag="extractions")
of_calibrations = keyed_router(prefix="/v1/calibrations", tag="calibrations")

RESPONSES: dict[int | str, JsonField] = {
    202: {"headers": {"Location": {"description": "the job that writes the export", "schema": {"type": "string"}}}},
    **documented(400, 403, 404, 409, 413, 415, 422, 429),
}
ExtractionId = Annotated[
    str,
    Path(
        pattern=r"^(ext|job)_[0-9a-z]{26}$",
        description="the id of the extraction, or of the job that made it",
        examples=["ext_01k9zq3m4e8v6t2y5w7x9abcde"],
    ),
]


@router.post(
    "/{extraction_id}/exports",
    operation_id="submitExport",
    summary="Export an extraction",
    status_code=202,
    response_model=JobOut,
    responses=RESPONSES,
)
async def submit_export(
    extraction_id: ExtractionId,
    body: Annotated[ExportRequest, Body(examples=[{"format": "trait-interp"}, {"format": "gguf", "methods": ["probe"]}])],
    asks: Asks,
) -> Response:
    """Makes a job that writes `.pt`, trait-interp's folder, GGUF control vectors or .npy files. In all of them, layer N is the
    output of block N."""
    return await asks.submitted(service.submit, extraction_id, body)


@of_calibrations.post(
    "/{calibration_id}/exports",
    operation_id="exportCalibrations",
    summary="Export calibrations",
    status_code=202,
    response_model=JobOut,
    responses=RESPONSES,
)
async def submit_calibration_export(
    calibration_id: CalibrationId,
    body: Annotated[CalibrationExportRequest, Body(examples=[{"format": "trait-interp"}])],
    asks: Asks,
) -> Response:
    """Writes one `experiments/{experiment}/inference/{model_variant}/massive_activations/calibration.json` for each calibration."""
    return await asks.submitted(calibrations.submit, calibration_id, body)
