"""Every statement about the audit table. Nothing updates or deletes a row of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select, tuple_
from sqlalchemy.orm import Session

from app.audit.models import AuditEntry

Place = tuple[datetime, str]
"""`(at, id)` of an entry."""


@dataclass(frozen=True)
class AuditFilters:
    """What the list is narrowed to; None means everything. `action` is a whole one, `key.revoke`, or what is acted on, `key`."""

    actor: str | None = None
    key: str | None = None
    action: str | None = None
    object: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def listing(session: Session, filters: AuditFilters, *, limit: int, before: Place | None) -> Sequence[AuditEntry]:
    """Newest first; `before` is the place of the last entry of the page before."""
    statement = select(AuditEntry).order_by(AuditEntry.at.desc(), AuditEntry.id.desc()).limit(limit)
    for column, value in (
        (AuditEntry.actor, filters.actor),
        (AuditEntry.key_id, filters.key),
        (AuditEntry.object, filters.object),
        (AuditEntry.outcome, filters.outcome),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if filters.action is not None:
        kind = AuditEntry.action.startswith(f"{filters.action}.", autoescape=True)
        statement = statement.where(or_(AuditEntry.action == filters.action, kind))
    if filters.since is not None:
        statement = statement.where(AuditEntry.at >= filters.since)
    if filters.until is not None:
        statement = statement.where(AuditEntry.at < filters.until)
    if before is not None:
        statement = statement.where(tuple_(AuditEntry.at, AuditEntry.id) < before)
    return session.scalars(statement).all()
