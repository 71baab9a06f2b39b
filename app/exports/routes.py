"""Exports over HTTP: a job that writes an extraction, or calibrations, as another program's files."""

from typing import Annotated

from fastapi import Body, Path, Response

from app.calibrations.routes import CalibrationId
from app.exports import calibrations, service
from app.exports.calibrations import CalibrationExportRequest
from app.exports.schemas import ExportRequest
from app.http.access import keyed_router
from app.jobs.asking import Asks, creates_job

router = keyed_router(prefix="/v1/extractions", tag="extractions")
of_calibrations = keyed_router(prefix="/v1/calibrations", tag="calibrations")

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
    **creates_job(404, 413, 415, job="the job that writes the export"),
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
    **creates_job(404, 413, 415, job="the job that writes the export"),
)
async def submit_calibration_export(
    calibration_id: CalibrationId,
    body: Annotated[CalibrationExportRequest, Body(examples=[{"format": "trait-interp"}])],
    asks: Asks,
) -> Response:
    """Writes one `experiments/{experiment}/inference/{model_variant}/massive_activations/calibration.json` for each calibration."""
    return await asks.submitted(calibrations.submit, calibration_id, body)
