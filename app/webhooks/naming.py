"""Which target a job names: checked when it is submitted, and again when it is retried. Knows no jobs, so that they may know it."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import invalid
from app.webhooks.models import WebhookTarget


def check_usable(session: Session, name: str | None) -> None:
    """Raises Problem 422 when a job names a target that is not there."""
    if name is None or session.get(WebhookTarget, name) is not None:
        return
    names = session.scalars(select(WebhookTarget.name).order_by(WebhookTarget.name)).all()
    known = f"This server has: {', '.join(names)}." if names else "An administrator has allowed none yet (POST /v1/webhooks)."
    raise invalid("/webhook", "unknown_webhook", f"No webhook is called {name!r}. {known}")


def usable(session: Session, name: str | None) -> str | None:
    """The name, if there still is such a target: a retry need not fail because somebody was told who is gone."""
    return name if name is not None and session.get(WebhookTarget, name) is not None else None
