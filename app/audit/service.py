"""Records actions in the transaction that does them, so that both are stored or neither."""

import hashlib
import json
from collections.abc import Sequence
from typing import Literal, Protocol

import structlog
from sqlalchemy.orm import Session

from app.audit import repository
from app.audit.models import AuditEntry
from app.audit.repository import AuditFilters, Place
from app.ids import new_id
from terms.values import Json


class Actor(Protocol):
    """Who acts: an owner with a key, who administers the server or not."""

    @property
    def owner(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def is_admin(self) -> bool: ...


def record(
    session: Session,
    viewer: Actor,
    action: str,
    object: str,  # noqa: A002 - the word for what is acted on
    /,
    *,
    outcome: Literal["done", "denied"] = "done",
    example: str | None = None,
    **details: Json,
) -> None:
    """Adds an entry: `viewer` did `action` (`key.revoke`, `quota.set`) to `object` (an id or a name). `details` must hold no secret.

    Rows cannot be deleted, so users without administrators' rights must not be able to add them without end: the same act of theirs (by the
    same key, on the same object, with the same outcome and details) is one row a day with a count. `example` is a detail of the first time.

    The request's id is the one that the gate bound for the logs; there is none on the command line.
    """
    act = {"actor": viewer.owner, "key_id": viewer.key_id or None, "action": action, "object": object, "outcome": outcome}
    same = None if viewer.is_admin else hashlib.sha256(json.dumps([act, details], sort_keys=True).encode()).hexdigest()
    row = {
        "id": new_id("aud"),
        **act,
        "request_id": structlog.contextvars.get_contextvars().get("request_id"),
        "details": details if example is None else {**details, "example": example},
    }
    repository.add(session, row, same)


def listing(session: Session, filters: AuditFilters, *, limit: int, before: Place | None = None) -> Sequence[AuditEntry]:
    """A page of entries, newest first."""
    return repository.listing(session, filters, limit=limit, before=before)
