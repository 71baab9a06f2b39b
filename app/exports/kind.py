"""The job kind `export`: the result that a finished job stores, which describes its file, and the link to the file."""

from sqlalchemy.orm import Session

from app.jobs.kinds import Kind
from app.jobs.models import Job
from terms.values import JsonObject


class Export(Kind):
    """The kind `export`. The result describes one file, an artifact of the job."""

    name = "export"
    handler_version = 2
    inherited = ("trait", "model")

    def record(self, session: Session, job: Job, outcome: JsonObject) -> JsonObject:
        return {"export": outcome["export"]}

    def links(self, job: Job) -> dict[str, str]:
        name = (job.result or {})["export"]["file"]
        return {"result": f"/v1/jobs/{job.id}/artifacts/{name}"}


EXPORT = Export()
