"""Exports of calibrations: a job that writes calibration.json where trait-interp looks for it, several of them side by side."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.calibrations import service as calibrations
from app.calibrations.results import CalibrationOut
from app.errors import Problem, invalid
from app.jobs.schemas import JobRequest
from app.jobs.submission import Asker
from app.jobs.submitting import Answer, Plan, answer, check_edges, promised, submitted
from app.text import check_text
from binnacle.words.layout import calibration_path
from terms.specs import CalibrationsExportSpec

Calibration = Annotated[str, StringConstraints(pattern=r"^(cal|job)_[0-9a-z]{26}$")]


class CalibrationExportRequest(JobRequest):
    """A calibration, and others beside it, in trait-interp's folders, as .tar.gz."""

    format: Literal["trait-interp"] = "trait-interp"
    beside: list[Calibration] = Field(
        default_factory=list, max_length=200, description="further calibrations; each needs an experiment or a variant of its own"
    )


def submit(session: Session, asker: Asker, identifier: str, request: CalibrationExportRequest) -> Answer:
    """Submits the job that writes the export, and returns it. Raises Problem 404, 409 and 422."""
    placed = promised(session, asker)
    if placed is None:
        placed = submitted(session, asker, _plan(session, identifier, request, asker.viewer), request)
    return answer(session, asker, placed)


def _plan(session: Session, identifier: str, request: CalibrationExportRequest, viewer: Viewer) -> Plan:
    check_text(request.model_dump(mode="json"))
    first = calibrations.find(session, identifier, viewer)
    chosen = [first, *_beside(session, request, viewer)]
    _check_folders(chosen)
    return Plan("export", "light", first.model, _spec(request, chosen), check_edges(session, request, viewer))


def _beside(session: Session, request: CalibrationExportRequest, viewer: Viewer) -> Iterator[CalibrationOut]:
    known = calibrations.named(session, request.beside, viewer) if request.beside else {}
    for i, identifier in enumerate(request.beside):
        try:
            yield known.get(identifier) or calibrations.find(session, identifier, viewer)  # which says why it cannot be used
        except Problem as problem:
            raise invalid(f"/beside/{i}", problem.code, problem.detail) from problem


def _check_folders(chosen: list[CalibrationOut]) -> None:
    """Raises Problem 422 for a calibration named twice, for two that belong at one path, and for labels of old that name no folder.

    The worker looks again, into the files: of a calibration from before its variant was recorded only its file knows.
    """
    taken: dict[str, str] = {}
    for i, calibration in enumerate(chosen):
        if calibration.id in {earlier.id for earlier in chosen[:i]}:
            raise invalid(f"/beside/{i - 1}", "duplicate_calibration", f"{calibration.id} is named twice. Name it once.")
        if calibration.experiment is None or calibration.model_variant is None:
            continue
        try:
            path = calibration_path(calibration.experiment, calibration.model_variant)
        except ValueError as error:
            pointer = f"/beside/{i - 1}" if i else ""
            raise invalid(pointer, "no_folder", f"{calibration.id}: {error} Calibrate again with another name.") from error
        if path in taken:
            detail = (
                f"{taken[path]} and {calibration.id} would both be written to {path}. Calibrate again with another "
                "experiment or model_variant, or export them separately."
            )
            raise invalid(f"/beside/{i - 1}", "same_folder", detail)
        taken[path] = calibration.id


def _spec(request: CalibrationExportRequest, chosen: list[CalibrationOut]) -> CalibrationsExportSpec:
    return {
        "kind": "export",
        "format": request.format,
        "model": chosen[0].model,
        "calibrations": [{"job": calibration.job, "model": calibration.model} for calibration in chosen],
    }
