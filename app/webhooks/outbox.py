"""The outbox: a row for each message, written in the transaction that ends the job. Nothing here opens a connection."""

from typing import Protocol

from sqlalchemy import bindparam, literal, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from app.ids import new_id
from app.webhooks.models import WebhookDelivery, WebhookTarget
from terms.documents.jobs import ErrorFacts
from terms.values import JsonObject

FACTS = ("id", "kind", "name", "tags", "state", "model", "owner", "attempt")
TIMES = ("created_at", "started_at", "finished_at")


class Finished(Protocol):
    """A finished job: these fields, and those of FACTS and TIMES, are what a message is made of."""

    @property
    def id(self) -> str: ...
    @property
    def webhook(self) -> str | None: ...
    @property
    def error(self) -> ErrorFacts | None: ...


def announce(session: Session, job: Finished) -> None:
    """Puts a message about the job's end into the outbox if the job named a target that still exists. Neither fails nor waits."""
    if job.webhook is not None:
        announce_to(session, job, job.webhook)


def announce_to(session: Session, job: Finished, target: str, *, identifier: str | None = None) -> None:
    """Puts a message about the job's end into the outbox for this target; a message with the same id is put there only once."""
    put(session, target, {"event": "job.finished", "job": facts(job)}, job_id=job.id, identifier=identifier)


def put(session: Session, target: str, body: JsonObject, *, job_id: str | None, identifier: str | None = None) -> str | None:
    """Puts a message into the outbox and returns the id of its delivery; None if the target does not exist, or a delivery has this id already.
    A target that another transaction is deleting counts as deleted.
    """
    identifier = identifier or new_id("whd")
    query = select(literal(identifier), WebhookTarget.name, literal(job_id), bindparam("body", body, type_=JSONB)).where(
        WebhookTarget.name == target
    )
    statement = insert(WebhookDelivery).from_select(
        ["id", "target", "job_id", "body"], query.with_for_update(read=True, key_share=True, of=WebhookTarget)
    )
    made = session.execute(statement.on_conflict_do_nothing().returning(WebhookDelivery.id)).one_or_none()
    return None if made is None else identifier


def facts(job: Finished) -> JsonObject:
    """Returns what a message says about a job: nothing from its spec, its prompts or its results."""
    return {
        **{name: getattr(job, name) for name in FACTS},
        **{name: at.isoformat() if (at := getattr(job, name)) is not None else None for name in TIMES},
        "error": {"code": job.error.get("code"), "detail": job.error.get("detail")} if job.error else None,
        "href": f"/v1/jobs/{job.id}",
    }
