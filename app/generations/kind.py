"""What a finished `generate` job stores: its answers, on the job itself, because they are few."""

from typing import Any

from sqlalchemy.orm import Session

from app.jobs.kinds import Kind
from app.jobs.models import Job


def _record(_session: Session, _job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
    return outcome


def _links(job: Job) -> dict[str, str]:
    return {"result": f"/v1/generations/{job.id}"}


GENERATE = Kind("generate", 4, _record, _links, short=True, measures=True)
