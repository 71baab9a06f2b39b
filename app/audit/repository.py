"""Every statement about the audit table. Rows are only added and counted up; retention alone deletes, by age, where an operator asked for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.audit.models import AuditEntry
from terms.values import JsonObject

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


def add(session: Session, row: JsonObject, same: str | None) -> None:
    """The act's row; with `same`, one more in the row of the same day (UTC) and the same `same`, if there is one."""
    day = func.to_char(func.timezone("UTC", func.now()), "YYYY-MM-DD:")
    statement = insert(AuditEntry).values(**row, slot=None if same is None else func.concat(day, same))
    again = {"count": AuditEntry.count + 1, "last_at": func.now()}
    session.execute(statement.on_conflict_do_update(index_elements=[AuditEntry.slot], set_=again))


def listing(session: Session, filters: AuditFilters, *, limit: int, before: Place | None) -> Sequence[AuditEntry]:
    """Newest first, by the first time; `before` is the place of the last entry of the page before."""
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
