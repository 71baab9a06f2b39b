"""What a finished `generate` job stores: its answers, on the job itself, because they are few."""

from sqlalchemy.orm import Session

from app.jobs.kinds import Kind
from app.jobs.models import Job
from terms.documents.generation import GenerationResult


class Generate(Kind[GenerationResult]):
    """The kind `generate`; its answers are few and stay on the job."""

    name = "generate"
    handler_version = 5
    short = True
    measures = True

    def record(self, session: Session, job: Job, outcome: GenerationResult) -> GenerationResult:
        return outcome

    def links(self, job: Job) -> dict[str, str]:
        return {"result": f"/v1/generations/{job.id}"}


GENERATE = Generate()
