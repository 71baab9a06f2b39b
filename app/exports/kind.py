"""The job kind `export`: the result that a finished job stores, which describes its file, and the link to the file."""

from sqlalchemy.orm import Session

from app.jobs.kinds import Kind
from app.jobs.models import Job
from terms.documents.outcomes import ExportOutcome


class Export(Kind[ExportOutcome]):
    """The kind `export`. The result describes one file, an artifact of the job."""

    name = "export"
    handler_version = 2
    inherited = ("trait", "model")

    def record(self, session: Session, job: Job, outcome: ExportOutcome) -> ExportOutcome:
        return {"export": outcome["export"]}

    def links(self, job: Job) -> dict[str, str]:
        return {"result": f"/v1/jobs/{job.id}/artifacts/{self.result(job)['export']['file']}"}


EXPORT = Export()
