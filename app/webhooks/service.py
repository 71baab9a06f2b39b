"""Adds, deletes, tests and shows webhooks. Functions run in the caller's transaction and raise Problem for invalid requests."""

import secrets
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from app.addresses import host_of
from app.audit import service as audit
from app.auth.viewer import Viewer
from app.errors import Problem, invalid, not_found
from app.text import check_text
from app.webhooks import outbox, repository
from app.webhooks.messages import secret_of
from app.webhooks.models import WebhookDelivery, WebhookTarget
from app.webhooks.schemas import DeliveryOut, WebhookMade, WebhookOut, WebhookRequest


def add(session: Session, request: WebhookRequest, viewer: Viewer, pepper: str) -> WebhookMade:
    """Allows a target. Raises Problem 409 when the name is taken or the server has no pepper, 422 for an address that is not valid."""
    check_text(request.model_dump())
    _check_url(request.url)
    if not pepper:
        raise Problem(
            409,
            "no_pepper",
            "Messages are signed with secrets made from BINNACLE_KEY_PEPPER, which is empty: set it, then try again.",
        )
    made = repository.add(session, {**request.model_dump(), "salt": secrets.token_hex(16), "created_by": viewer.owner})
    if made is None:
        detail = f"A webhook named {request.name} already exists. Delete it first (DELETE /v1/webhooks/{request.name}), or choose another name."
        raise Problem(409, "webhook_exists", detail)
    audit.record(session, viewer, "webhook.add", made.name, host=urlsplit(made.url).hostname, private=made.private)
    return WebhookMade(**view(made, viewer).model_dump(), secret=secret_of(pepper, made.salt))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port_is_fine = (parts.port is None or 0 < parts.port < 65536) and bool(host_of(url))
    except ValueError:
        raise invalid("/url", "invalid_url", "/url is not a valid address: its host or port cannot be read.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine or any(c.isspace() for c in url):
        raise invalid("/url", "invalid_url", "/url must be an http:// or https:// address such as https://hooks.example.org/x.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise invalid("/url", "invalid_url", "/url holds a user, a password or a fragment. Remove it.")


def delete(session: Session, name: str, viewer: Viewer) -> None:
    """Deletes the target and its deliveries; jobs that name it send no message from then on. Raises Problem 404."""
    if not repository.delete(session, name):
        raise not_found("webhook", name)
    audit.record(session, viewer, "webhook.delete", name)


def test(session: Session, name: str, viewer: Viewer) -> DeliveryOut:
    """Puts a test message, about no job, into the outbox. Raises Problem 404."""
    made = outbox.put(session, name, {"event": "test"}, job_id=None)
    if made is None:
        raise not_found("webhook", name)
    audit.record(session, viewer, "webhook.test", name)
    return delivery_view(session.get_one(WebhookDelivery, made))


def view(target: WebhookTarget, viewer: Viewer) -> WebhookOut:
    """Returns the target as the viewer may see it."""
    return WebhookOut(
        name=target.name, host=urlsplit(target.url).hostname or "", url=target.url if viewer.is_admin else None,
        private=target.private, created_by=target.created_by, created_at=target.created_at,
    )  # fmt: skip


def delivery_view(row: WebhookDelivery) -> DeliveryOut:
    """Returns the delivery as the API shows it."""
    return DeliveryOut.model_validate(
        {
            "id": row.id, "webhook": row.target, "job": row.job_id, "state": row.state, "attempts": row.attempts,
            "status": row.status, "error": row.error, "created_at": row.created_at,
            "next_at": row.next_at if row.state == "pending" else None, "finished_at": row.finished_at,
        }
    )  # fmt: skip
