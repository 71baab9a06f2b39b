"""What a finished `calibrate` job stores: a row by which calibrations are found."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.calibrations.models import Calibration
from app.ids import new_id
from app.jobs.kinds import Kind, Usable
from app.jobs.models import Job
from app.jobs.repository import made_by_visible
from terms.documents.outcomes import CalibrationOutcome


def _usable(viewer: Viewer) -> ColumnElement[bool]:
    return made_by_visible(Calibration.job_id, viewer)


class Calibrate(Kind[CalibrationOutcome]):
    """The kind `calibrate`; its row makes the calibration searchable."""

    name = "calibrate"
    handler_version = 5

    def record(self, session: Session, job: Job, outcome: CalibrationOutcome) -> CalibrationOutcome:
        calibration = outcome["calibration"]
        row = Calibration(
            id=new_id("cal"),
            job_id=job.id,
            owner=job.owner,
            model=job.model,
            weight_hash=calibration["weight_hash"],
            reading_hash=calibration.get("reading_hash"),
            severity=calibration["severity"],
            massive_dims=calibration["massive_dims"],
        )
        session.add(row)
        session.flush()
        return {"calibration": {"id": row.id, **calibration}}

    def links(self, job: Job) -> dict[str, str]:
        own = f"/v1/calibrations/{self.result(job)['calibration']['id']}"
        return {"result": own, "calibration.json": f"{own}/calibration.json"}

    def usable(self) -> Mapping[str, Usable]:
        return {"cal": (Calibration.id, _usable)}


CALIBRATE = Calibrate()
