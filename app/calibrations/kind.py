"""What a finished `calibrate` job stores: a row by which calibrations are found."""

from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.calibrations.models import Calibration
from app.ids import new_id
from app.jobs.kinds import Kind
from app.jobs.models import Job
from app.jobs.repository import made_by_visible


def _record(session: Session, job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
    found = outcome["calibration"]
    row = Calibration(
        id=new_id("cal"),
        job_id=job.id,
        owner=job.owner,
        model=job.model,
        weight_hash=found["weight_hash"],
        reading_hash=found.get("reading_hash"),
        severity=found["severity"],
        massive_dims=found["massive_dims"],
    )
    session.add(row)
    session.flush()
    return {"calibration": {"id": row.id, **found}}


def _links(job: Job) -> dict[str, str]:
    own = f"/v1/calibrations/{(job.result or {})['calibration']['id']}"
    return {"result": own, "calibration.json": f"{own}/calibration.json"}


def _usable(viewer: Viewer) -> ColumnElement[bool]:
    return made_by_visible(Calibration.job_id, viewer)


CALIBRATE = Kind("calibrate", 5, _record, _links, usable={"cal": (Calibration.id, _usable)})
