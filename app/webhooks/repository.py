"""Database statements for targets and deliveries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.jobs.models import Job
from app.jobs.repository import visible
from app.moments import ago, ahead
from app.webhooks.models import WebhookDelivery, WebhookTarget
from terms.values import JsonObject


@dataclass(frozen=True)
class Due:
    """A delivery to be made now; `attempt` includes this attempt."""

    id: str
    attempt: int
    body: JsonObject
    url: str
    private: bool
    salt: str


@dataclass(frozen=True)
class DeliveryFilters:
    """Filters of a list of deliveries; None means no filter."""

    webhook: str | None = None
    job: str | None = None
    state: str | None = None


def listing(session: Session) -> Sequence[WebhookTarget]:
    """Returns all targets, by name; they are few, because an administrator adds each."""
    return session.scalars(select(WebhookTarget).order_by(WebhookTarget.name)).all()


def add(session: Session, row: JsonObject) -> WebhookTarget | None:
    """Adds a target and returns it; None if its name is taken."""
    return session.scalar(insert(WebhookTarget).values(**row).on_conflict_do_nothing().returning(WebhookTarget))


def delete(session: Session, name: str) -> bool:
    """Deletes a target with its deliveries; returns whether it existed."""
    deleted = delete_from(WebhookTarget).where(WebhookTarget.name == name).returning(WebhookTarget.name)
    return session.scalar(deleted) is not None


def deliveries(
    session: Session, viewer: Viewer, filters: DeliveryFilters, *, limit: int, before: tuple[datetime, str] | None
) -> Sequence[WebhookDelivery]:
    """Returns deliveries, newest first: those of jobs that the viewer may see, and for administrators also tests."""
    order = (WebhookDelivery.created_at, WebhookDelivery.id)
    statement = select(WebhookDelivery).order_by(*(column.desc() for column in order)).limit(limit)
    if not viewer.is_admin:
        statement = statement.where(WebhookDelivery.job_id.in_(visible(viewer).with_only_columns(Job.id)))
    if before is not None:
        statement = statement.where(tuple_(*order) < before)
    columns = {"webhook": WebhookDelivery.target, "job": WebhookDelivery.job_id, "state": WebhookDelivery.state}
    for name, column in columns.items():
        if (value := getattr(filters, name)) is not None:
            statement = statement.where(column == value)
    return session.scalars(statement).all()


def take_due(session: Session, *, limit: int, lease_seconds: float) -> list[Due]:
    """Takes the deliveries to be made now, for `lease_seconds`, and returns them; each counts as an attempt, even if this process dies first."""
    due = (
        select(WebhookDelivery.id)
        .where(WebhookDelivery.state == "pending", WebhookDelivery.next_at <= func.now())
        .order_by(WebhookDelivery.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_(due.scalar_subquery()), WebhookTarget.name == WebhookDelivery.target)
        .values(attempts=WebhookDelivery.attempts + 1, next_at=ahead(seconds=lease_seconds))
        .returning(
            WebhookDelivery.id, WebhookDelivery.attempts, WebhookDelivery.body, WebhookTarget.url, WebhookTarget.private,
            WebhookTarget.salt,
        )
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    return [Due(*row) for row in taken]


def settle(session: Session, due: Due, *, state: str, status: int | None, error: str | None, again_in: float) -> None:
    """Stores the outcome of an attempt; has no effect if another process has taken the delivery since."""
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == due.id, WebhookDelivery.attempts == due.attempt, WebhookDelivery.state == "pending")
        .values(
            state=state,
            status=status,
            error=error,
            next_at=ahead(seconds=again_in),
            finished_at=None if state == "pending" else func.now(),
        )
        .execution_options(synchronize_session=False)
    )


def forget(session: Session, *, days: float) -> None:
    """Removes the deliveries that ended more than `days` days ago."""
    old = WebhookDelivery.finished_at < ago(days=days)
    session.execute(delete_from(WebhookDelivery).where(old).execution_options(synchronize_session=False))
