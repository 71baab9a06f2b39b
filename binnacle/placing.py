"""Saves calibration.json where trait-interp looks for it."""

from pathlib import Path

from binnacle.connection import Connection
from binnacle.downloads import download, holds
from binnacle.errors import BinnacleError
from binnacle.results import Job
from binnacle.words.layout import calibration_path


def place_calibration(
    connection: Connection,
    job: Job,
    folder: Path,
    experiment: str | None = None,
    model_variant: str | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Saves the calibration.json of a job where trait-interp looks for it below `folder`; returns its path.

    Raises BinnacleError, and changes nothing there, for a job of another kind and when a different file is there, unless `overwrite`.
    """
    if job["kind"] != "calibrate":
        raise BinnacleError("no_calibration", _NOT_PLACED.get(job["kind"], _NOT_PLACED[""]).format(**job))
    if not job["artifacts"]:
        raise BinnacleError("no_files", f"{job['id']} has no files (it is {job['state']}); see: binnacle watch {job['id']}")
    artifact = next(file for file in job["artifacts"] if file["name"] == "calibration.json")
    document = connection.request("GET", artifact["href"]).json()
    try:
        place = calibration_path(experiment or document["experiment"], model_variant or document["model_variant"])
    except ValueError as error:
        raise BinnacleError("bad_folder", f"{error} Name others with --experiment and --model-variant.") from error
    target = folder / place
    if target.exists() and not holds(target, artifact["sha256"], overwrite=True) and not overwrite:
        detail = f"{target} is another calibration. Name another folder with --model-variant or --experiment, or add --overwrite."
        raise BinnacleError("place_taken", detail)
    return download(connection, artifact, target, overwrite=overwrite)


_NOT_PLACED = {
    "extract": (
        "{id} is an extraction. An export job writes its folder in this layout: binnacle export {id} trait-interp, "
        "then binnacle get with the id of that job."
    ),
    "": "{id} is a job of kind {kind}; --layout trait-interp places the calibration.json of calibrations.",
}
"""What to do instead, by kind of job."""
