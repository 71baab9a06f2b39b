"""The limits of a user: own limits, else the server-wide limits, else the built-in ones."""

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.quotas.models import EVERYBODY, UNLIMITED

BUILT_IN_QUEUED = 10_000
"""Most queued jobs of a user when no administrator has set a limit: more than anyone needs, and it stops a program in an endless loop."""


@dataclass(frozen=True)
class Limits:
    """The limits of a user, each at least 0; UNLIMITED means no limit."""

    max_queued: int = BUILT_IN_QUEUED
    max_running: int = UNLIMITED
    device_seconds_per_day: int = UNLIMITED
    stored_bytes: int = UNLIMITED


NAMES = tuple(field.name for field in fields(Limits))
_ROWS = text(f"SELECT owner, {', '.join(NAMES)} FROM quotas WHERE owner IN (:owner, '{EVERYBODY}')")
"""Plain SQL, because every submission runs it and mapped objects take a millisecond."""


def limits_of(session: Session, owner: str) -> Limits:
    """Returns the limits that apply to the user now."""
    by_owner = {row.owner: row for row in session.execute(_ROWS, {"owner": owner})}
    return effective(by_owner.get(owner), by_owner.get(EVERYBODY))


def limit_of(quota: str, owner: str, built_in: int = UNLIMITED) -> str:
    """Returns SQL for one limit that applies to an owner (an SQL expression); `built_in` must be that of `Limits`."""
    return f"""coalesce((SELECT q.{quota} FROM quotas q WHERE q.owner = {owner}),
    (SELECT q.{quota} FROM quotas q WHERE q.owner = '{EVERYBODY}'), {built_in})"""


def effective(own: Any, everybodys: Any) -> Limits:
    """Returns the limits from two rows of quotas (or None): the user's own limit, else the server-wide limit, else the built-in one."""
    said: dict[str, int] = {}
    for quota in (everybodys, own):
        said |= {name: value for name in NAMES if (value := getattr(quota, name, None)) is not None}
    return Limits(**said)
