"""The limits of a user: their own, else the server-wide, else the built-in ones."""

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.quotas.models import EVERYBODY, UNLIMITED

BUILT_IN_QUEUED = 10_000
"""Jobs that a user may have queued where no administrator has said anything: nobody means more, and a program gone wild stops there."""


@dataclass(frozen=True)
class Limits:
    """Each at least 0; UNLIMITED where there is none."""

    max_queued: int = BUILT_IN_QUEUED
    max_running: int = UNLIMITED
    device_seconds_per_day: int = UNLIMITED
    stored_bytes: int = UNLIMITED


NAMES = tuple(one.name for one in fields(Limits))
_ROWS = text(f"SELECT owner, {', '.join(NAMES)} FROM quotas WHERE owner IN (:owner, '{EVERYBODY}')")
"""Plain SQL: every submission asks this, and objects of the mapper cost a millisecond."""


def limits_of(session: Session, owner: str) -> Limits:
    """What holds for the user now."""
    found = {row.owner: row for row in session.execute(_ROWS, {"owner": owner})}
    return effective(found.get(owner), found.get(EVERYBODY))


def effective(own: Any, everybodys: Any) -> Limits:
    """From two rows of quotas, or None: the user's own limit where there is one, else everybody's, else the built-in one."""
    said: dict[str, int] = {}
    for quota in (everybodys, own):
        said |= {name: value for name in NAMES if (value := getattr(quota, name, None)) is not None}
    return Limits(**said)
