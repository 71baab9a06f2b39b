"""What `download`, `inspect` and `prove` jobs leave: the model's facts and proofs, or the fault for which jobs naming it are refused."""

from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.jobs.kinds import Kind
from app.jobs.models import Job
from app.models import proving, service
from app.models.models import Model

SHOWN = ("architecture", "layers", "hidden_size", "context_length", "vocab_size", "dtype", "n_parameters", "weight_hash")


def _record(session: Session, job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
    facts = outcome["facts"]
    model = _inspected_by(session, job)
    if model is not None:
        model.facts, model.passport, model.updated_at = facts, None, func.now()
        proving.follow(session, model, job)
        session.flush()
    return {"model": {"name": job.model, **{name: facts[name] for name in SHOWN if name in facts}}}


def _failed(session: Session, job: Job, error: dict[str, Any]) -> None:
    model = _inspected_by(session, job)
    if model is not None:
        model.state, model.fault, model.proving, model.updated_at = "faulty", error, False, func.now()
        session.flush()


def _inspected_by(session: Session, job: Job) -> Model | None:
    """The model, unless it is gone or another job inspects it by now. A retry of its inspect job takes that one's place."""
    model = session.get(Model, job.model, with_for_update=True)
    if model is None or model.inspect_job is None or model.inspect_job not in (job.id, job.retry_of):
        return None
    model.inspect_job = job.id
    return model


def _links(job: Job) -> dict[str, str]:
    return {"result": f"/v1/models/{job.model}"}


def _downloaded(session: Session, job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
    """A download that was retried by itself is followed by the inspection that the failed one took down with it."""
    model = session.get(Model, job.model, with_for_update=True)
    if job.retry_of is not None and model is not None and model.state == "faulty":
        service.look_again(session, model, owner=job.owner, request_id=job.request_id, own=True)
    return outcome


def _proved(session: Session, job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
    proving.proved(session, job, outcome)
    passport = outcome["passport"]
    shown = {name: passport[name] for name in ("outcome", "reading_hash", "proofs")}
    return {"model": {"name": job.model, **shown, "proofs_version": passport["version"], "stored": outcome["stored"]}}


INSPECT = Kind("inspect", 1, _record, _links, _failed)
PROVE = Kind("prove", 1, _proved, _links, proving.not_proved)
DOWNLOAD = Kind("download", 1, _downloaded, _links)
