"""Database statements for the audit table. Rows are added or counted up; only retention deletes them, by age, if an operator turns it on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.audit.models import AuditEntry
from app.moments import TimeAndId
from terms.values import JsonObject


@dataclass(frozen=True)
class AuditFilters:
    """Filters of the list; None means all entries. `action` is a whole action (`key.revoke`) or its first part (`key`).

    `since` includes entries that were first made earlier and repeated since; `until` excludes only entries first made at that time or later.
    """

    actor: str | None = None
    key: str | None = None
    action: str | None = None
    object: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def add(session: Session, row: JsonObject, same: str | None) -> None:
    """Adds a row for an act. With `same`, adds 1 to the count of the row with that `same` of today (UTC) instead, if it exists."""
    day = func.to_char(func.timezone("UTC", func.now()), "YYYY-MM-DD:")
    statement = insert(AuditEntry).values(**row, slot=None if same is None else func.concat(day, same))
    again = {"count": AuditEntry.count + 1, "last_at": func.now()}
    session.execute(statement.on_conflict_do_update(index_elements=[AuditEntry.slot], set_=again))


def listing(session: Session, filters: AuditFilters, *, limit: int, before: TimeAndId | None) -> Sequence[AuditEntry]:
    """Returns a page of entries, newest first by the time of their first act; `before` is the place of the previous page's last entry."""
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
        statement = statement.where(or_(AuditEntry.at >= filters.since, AuditEntry.last_at >= filters.since))
    if filters.until is not None:
        statement = statement.where(AuditEntry.at < filters.until)
    if before is not None:
        statement = statement.where(tuple_(AuditEntry.at, AuditEntry.id) < before)
    return session.scalars(statement).all()
