"""Records actions in the transaction that does them, so that both are stored or neither."""

import hashlib
import json
from collections.abc import Sequence
from typing import Literal, Protocol

import structlog
from sqlalchemy.orm import Session

from app.audit import repository
from app.audit.models import AuditEntry
from app.audit.repository import AuditFilters
from app.ids import new_id
from app.moments import TimeAndId
from terms.values import Json


class Actor(Protocol):
    """Who acts, such as a `Viewer`: the user, the key (empty without one), and whether it has an administrator's rights."""

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

    Users without administrators' rights cannot fill the table by repetition: the same act on one day (UTC), by the same key, on the same object,
    with the same outcome and details, is one row with a count. Acts of administrators are one row each. `example` is a detail that does not
    distinguish acts: a repeated act keeps the example of its first time.

    The row's request id is the id that `app.http.gate` sets for the logs; on the command line it is empty.
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


def listing(session: Session, filters: AuditFilters, *, limit: int, before: TimeAndId | None = None) -> Sequence[AuditEntry]:
    """Returns a page of entries, newest first."""
    return repository.listing(session, filters, limit=limit, before=before)
