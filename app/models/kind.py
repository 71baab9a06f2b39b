"""Stores the outcome of `download`, `inspect` and `prove` jobs: a model's facts and proofs, or the fault for which its jobs are refused."""

from typing import Literal, get_args

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.jobs.kinds import Kind, Outcome, Result
from app.jobs.models import Job
from app.models import proving, repository, service
from app.models.models import Model
from terms.documents.jobs import ErrorFacts
from terms.documents.model import InspectedOutcome
from terms.documents.passport import ProvedOutcome, ProvedResult
from terms.values import JsonObject

Shown = Literal["architecture", "layers", "hidden_size", "context_length", "vocab_size", "dtype", "n_parameters", "weight_hash"]
SHOWN: tuple[Shown, ...] = get_args(Shown)
"""The facts that an inspection's result shows."""


def _inspected_by(session: Session, job: Job) -> Model | None:
    """Returns the job's model, or None if it was removed or another job inspects it now. A retry of the inspect job replaces that job."""
    model = session.get(Model, job.model, with_for_update=True)
    if model is None or model.inspect_job is None or model.inspect_job not in (job.id, job.retry_of):
        return None
    model.inspect_job = job.id
    return model


class _AheadOfUsers(Kind[Result, Outcome]):
    """A kind that jobs naming the model wait for."""

    def awaited(self, session: Session, job: Job) -> str | None:
        """Returns what a new job that names the model waits for, and the job itself while the model is faulty."""
        model = session.get(Model, job.model)
        return job.id if model is None or model.state == "faulty" else model.awaited


class Inspect(_AheadOfUsers[JsonObject, InspectedOutcome]):
    """Inspection of a model: stores its facts and submits a job that proves it."""

    name = "inspect"
    handler_version = 1

    def record(self, session: Session, job: Job, outcome: InspectedOutcome) -> JsonObject:
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


class Prove(_AheadOfUsers[ProvedResult, ProvedOutcome]):
    """Proofs of a model: stores its passport."""

    name = "prove"
    handler_version = 1

    def failed(self, session: Session, job: Job, error: ErrorFacts) -> None:
        """Records why the model is unproven."""
        proving.not_proved(session, job, error)

    def record(self, session: Session, job: Job, outcome: ProvedOutcome) -> ProvedResult:
        proving.proved(session, job, outcome)
        passport = outcome["passport"]
        return {
            "model": {
                "name": job.model,
                "outcome": passport["outcome"],
                "reading_hash": passport["reading_hash"],
                "proofs": passport["proofs"],
                "proofs_version": passport["version"],
                "stored": outcome["stored"],
            }
        }

    def links(self, job: Job) -> dict[str, str]:
        return {"result": f"/v1/models/{job.model}"}


class Download(Kind):
    """Download of a model's files to its worker's cache."""

    name = "download"
    handler_version = 1

    def record(self, session: Session, job: Job, outcome: JsonObject) -> JsonObject:
        """Submits a new inspection after a retried download, because the first inspection failed together with the first download; none
        where the first was retried, too, and waits.
        """
        model = session.get(Model, job.model, with_for_update=True)
        if job.retry_of is None or model is None or model.state != "faulty":
            return outcome
        if repository.inspecting_job(session, model.name) is None:
            service.look_again(session, model, owner=job.owner, request_id=job.request_id, own=True)
        return outcome

    def links(self, job: Job) -> dict[str, str]:
        return {"result": f"/v1/models/{job.model}"}


INSPECT = Inspect()
PROVE = Prove()
DOWNLOAD = Download()
