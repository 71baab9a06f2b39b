"""Submits a model's `prove` job and applies its outcome to the model.

A model is usable once it is proved. Its prove job is created together with its inspect job and waits for it; jobs that name the model wait
for both. A model that was usable before passports existed stays usable, and is proved when a device is idle.
"""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.auth.sharing import Sharing
from app.errors import as_error
from app.jobs import repository as job_repository
from app.jobs import service as jobs
from app.jobs.models import Job
from app.jobs.schemas import Edge
from app.jobs.states import FINISHED
from app.jobs.submission import Submission
from app.models import repository
from app.models.models import Model, Passport
from app.models.reading import REFUSED
from terms.documents.jobs import ErrorFacts
from terms.documents.model import ModelFactsDocument
from terms.documents.passport import ProvedContent, ProvedOutcome
from terms.specs import ModelSpec

LAST = -10
"""A priority below all other jobs of the owner."""


def submit(  # noqa: PLR0913 - a submission's own fields
    session: Session, model: Model, owner: str, request_id: str | None = None, *, after: Sequence[Edge] = (), own: bool = False,
    programs: dict[str, int | str] | None = None, priority: int = 0,
) -> Job:  # fmt: skip
    """Submits the job that proves the model. `own`: submitted by the service, so quotas do not apply. `programs`: the versions of proofs and
    libraries for which an idle device proves it, so that it is tried once with them; None for a proof that was asked for."""
    spec: ModelSpec = {
        "kind": "prove",
        "model": model.name,
        "source": model.source,
        "revision": model.revision,
        "programs": programs,
    }
    submission = Submission(
        kind="prove", spec=spec, owner=owner, model=model.name, job_class="model", request_id=request_id, after=after,
        priority=priority, sharing=Sharing(visibility="public"), unmetered=own,
    )  # fmt: skip
    job = jobs.submit(session, submission).job
    model.prove_job, model.updated_at = job.id, func.now()
    session.flush()
    return job


def follow(session: Session, model: Model, inspection: Job) -> None:
    """Continues with the proofs after an inspection: the waiting prove job runs, or a new one is submitted when a retry repaired the
    inspection.
    """
    waiting = None if model.prove_job is None else session.get(Job, model.prove_job, populate_existing=True)
    if waiting is not None and waiting.state in FINISHED and inspection.retry_of is None:
        return  # the prove job ended meanwhile without a passport: `not_proved` has stored the fault, which stays
    if waiting is None or waiting.state in FINISHED:
        submit(session, model, inspection.owner, inspection.request_id, own=True)
    model.state, model.fault, model.proving = "inspecting", None, True


def proved(session: Session, job: Job, outcome: ProvedOutcome) -> None:
    """Stores the passport and makes the job's model usable."""
    passport, content = outcome["passport"], outcome["content"]
    repository.keep_passport(session, outcome["key"], content, passport)
    model = _proved_by(session, job)
    if model is None or not _same_files(model, content):
        return
    facts: ModelFactsDocument = {
        **model.facts,
        "reading_hash": passport["reading_hash"] or None,
        "proofs_version": passport["version"],
        "config_hash": content["config_hash"],
    }
    model.facts, model.passport, model.state, model.fault = facts, outcome["key"], "ready", None
    model.proving, model.updated_at = False, func.now()
    session.flush()


def not_proved(session: Session, job: Job, error: ErrorFacts) -> None:
    """Records a failed prove job. A refusal stops new jobs that name the model. Other failures do so unless the model was usable during the
    job: the proofs of a new or newly inspected model must end before it is.
    """
    refusal = cast(ProvedOutcome | None, error.get("facts")) if error["code"] == REFUSED else None
    stored = bool(refusal and repository.keep_passport(session, refusal["key"], refusal["content"], refusal["passport"]))
    if error["code"] == "dependency_failed":
        return  # the model already has the fault of its files
    model = _proved_by(session, job)
    if model is None or (refusal and not _same_files(model, refusal["content"])):
        return
    model.proving, model.updated_at = False, func.now()
    if refusal:
        # a stored passport that is not a refusal belongs to another proof of the same content, and would contradict the fault
        model.state, model.passport = "faulty", refusal["key"] if stored else None
        model.fault = {"code": REFUSED, "detail": error["detail"]}
    elif model.state != "ready":
        detail = f"Its proofs were not completed: {error['detail']} Retry them: POST /v1/jobs/{job.id}/retry."
        model.state, model.fault = "faulty", as_error(error["code"], detail, retry=job.id)
    session.flush()


def prove_when_idle(session: Session, programs: dict[str, int | str], idle_seconds: float) -> Job | None:
    """Submits the proof of the next model without a passport of these programs, if a device was idle for `idle_seconds`; returns the job or
    None.

    Proves one model at a time, and each model once for the same files and programs: a failure is not retried automatically.
    """
    name = repository.unproven(session, programs)
    if name is None or not job_repository.idle_for(session, "model", idle_seconds):
        return None
    model = repository.listed(session, name, lock=True)
    if model is None or model.state != "ready":
        return None
    return submit(session, model, model.created_by, own=True, programs=programs, priority=LAST)


def _proved_by(session: Session, job: Job) -> Model | None:
    """Returns the job's model, or None if it is gone or another job proves it now. A retry takes the place of the prove job."""
    model = repository.find(session, job.model or "", lock=True)
    if model is None or model.prove_job is None or model.prove_job not in (job.id, job.retry_of):
        return None
    model.prove_job = job.id
    return model


def _same_files(model: Model, content: ProvedContent) -> bool:
    """Returns whether the passport belongs to the files as last inspected; older inspections did not hash the config."""
    facts = model.facts
    inspected = (facts.get("weight_hash"), facts.get("tokenizer_hash"), facts.get("config_hash"))
    proved = (content["weight_hash"], content["tokenizer_hash"], content["config_hash"])
    return all(not hashed or hashed == wanted for hashed, wanted in zip(inspected, proved, strict=True))


def current(session: Session, models: Sequence[Model]) -> dict[str, Passport]:
    """Returns the passports of these models, by key."""
    return repository.passports(session, [model.passport for model in models if model.passport is not None])
