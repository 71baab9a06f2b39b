"""What `download`, `inspect` and `prove` jobs leave: the model's facts and proofs, or the fault for which jobs naming it are refused."""

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.jobs.kinds import Kind
from app.jobs.models import Job
from app.models import proving, service
from app.models.models import Model
from terms.documents.jobs import ErrorFacts
from terms.values import JsonObject

SHOWN = ("architecture", "layers", "hidden_size", "context_length", "vocab_size", "dtype", "n_parameters", "weight_hash")


def _inspected_by(session: Session, job: Job) -> Model | None:
    """The model, unless it is gone or another job inspects it by now. A retry of its inspect job takes that one's place."""
    model = session.get(Model, job.model, with_for_update=True)
    if model is None or model.inspect_job is None or model.inspect_job not in (job.id, job.retry_of):
        return None
    model.inspect_job = job.id
    return model


class Inspect(Kind):
    """It leaves the facts of a model, and a job that proves it."""

    name = "inspect"
    handler_version = 1

    def record(self, session: Session, job: Job, outcome: JsonObject) -> JsonObject:
        facts = outcome["facts"]
        model = _inspected_by(session, job)
        if model is not None:
            model.facts, model.passport, model.updated_at = facts, None, func.now()
            proving.follow(session, model, job)
            session.flush()
        return {"model": {"name": job.model, **{name: facts[name] for name in SHOWN if name in facts}}}

    def failed(self, session: Session, job: Job, error: ErrorFacts) -> None:
        model = _inspected_by(session, job)
        if model is not None:
            model.state, model.fault, model.proving, model.updated_at = "faulty", error, False, func.now()
            session.flush()

    def links(self, job: Job) -> dict[str, str]:
        return {"result": f"/v1/models/{job.model}"}


class Prove(Kind):
    """It leaves the passport of a model."""

    name = "prove"
    handler_version = 1

    def failed(self, session: Session, job: Job, error: ErrorFacts) -> None:
        """The model stays unproven, with the reason."""
        proving.not_proved(session, job, error)

    def record(self, session: Session, job: Job, outcome: JsonObject) -> JsonObject:
        proving.proved(session, job, outcome)
        passport = outcome["passport"]
        shown = {name: passport[name] for name in ("outcome", "reading_hash", "proofs")}
        return {"model": {"name": job.model, **shown, "proofs_version": passport["version"], "stored": outcome["stored"]}}

    def links(self, job: Job) -> dict[str, str]:
        return {"result": f"/v1/models/{job.model}"}


class Download(Kind):
    """It leaves the files of a model in the cache of its worker."""

    name = "download"
    handler_version = 1

    def record(self, session: Session, job: Job, outcome: JsonObject) -> JsonObject:
        """A download that was retried by itself is followed by the inspection that the failed one took down with it."""
        model = session.get(Model, job.model, with_for_update=True)
        if job.retry_of is not None and model is not None and model.state == "faulty":
            service.look_again(session, model, owner=job.owner, request_id=job.request_id, own=True)
        return outcome

    def links(self, job: Job) -> dict[str, str]:
        return {"result": f"/v1/models/{job.model}"}


INSPECT = Inspect()
PROVE = Prove()
DOWNLOAD = Download()
