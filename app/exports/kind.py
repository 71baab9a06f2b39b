"""What a finished `export` job stores: its file, and the Job's link to it."""

from typing import Any

from sqlalchemy.orm import Session

from app.jobs.kinds import Kind
from app.jobs.models import Job


def _record(_session: Session, _job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
    return {"export": outcome["export"]}


def _links(job: Job) -> dict[str, str]:
    name = (job.result or {})["export"]["file"]
    return {"result": f"/v1/jobs/{job.id}/artifacts/{name}"}


EXPORT = Kind("export", 2, _record, _links, inherited=("trait", "model"))
