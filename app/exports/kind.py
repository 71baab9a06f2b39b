"""What a finished `export` job stores: its file, and the Job's link to it."""

from sqlalchemy.orm import Session

from app.jobs.kinds import Kind
from app.jobs.models import Job
from terms.values import JsonObject


class Export(Kind):
    """Its result is a file."""

    name = "export"
    handler_version = 2
    inherited = ("trait", "model")

    def record(self, session: Session, job: Job, outcome: JsonObject) -> JsonObject:
        return {"export": outcome["export"]}

    def links(self, job: Job) -> dict[str, str]:
        name = (job.result or {})["export"]["file"]
        return {"result": f"/v1/jobs/{job.id}/artifacts/{name}"}


EXPORT = Export()
