"""Checks the target that a job names, when it is submitted and when it is retried. Imports nothing of jobs, so that jobs may import it."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import invalid
from app.webhooks.models import WebhookTarget


def check_usable(session: Session, name: str | None) -> None:
    """Raises Problem 422 if the job names a target that does not exist."""
    if name is None or session.get(WebhookTarget, name) is not None:
        return
    names = session.scalars(select(WebhookTarget.name).order_by(WebhookTarget.name)).all()
    known = f"This server has: {', '.join(names)}." if names else "An administrator has allowed none yet (POST /v1/webhooks)."
    raise invalid("/webhook", "unknown_webhook", f"No webhook is called {name!r}. {known}")


def usable(session: Session, name: str | None) -> str | None:
    """Returns the name if the target still exists, else None: a retry must not fail because its target was deleted."""
    return name if name is not None and session.get(WebhookTarget, name) is not None else None
