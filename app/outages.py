"""Explains a database failure: the database does not answer, has reached a limit on connections (and which), is out of disk space or
memory, or has reached another limit of its settings."""

import re
from dataclasses import dataclass

from psycopg.errors import ConfigurationLimitExceeded, DeadlockDetected, DiskFull, OutOfMemory, QueryCanceled
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout

ROOM = text("""
SELECT CAST(current_setting('max_connections') AS integer),
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database())""")
_FULL = re.compile(r"too many clients already|remaining connection slots|too many connections for (role|database)")
_AGAIN = "Nothing was changed, and jobs continue. Try again in a few seconds."
_SHORT: dict[type[Exception], str] = {
    DiskFull: "The disk of the database is full. Nothing was changed. Tell an administrator: it needs more space.",
    OutOfMemory: "The database is out of memory. Nothing was changed. Tell an administrator: its log names what it could not get.",
    ConfigurationLimitExceeded: "The request reached a limit that is set in the database. Nothing was changed. Tell an administrator: the "
    "database's log names the limit.",
}
"""Sentences for a database that answers, and that trying again does not mend."""


@dataclass(frozen=True)
class Room:
    """Connection limits of the database server, of this role and of this database; a negative number means no limit."""

    server: int
    role: int
    database: int


def is_full(error: Exception) -> bool:
    """Returns whether a connection was refused because too many are open."""
    return _refused(error) is not None


def _refused(error: Exception) -> re.Match[str] | None:
    return _FULL.search(str(getattr(error, "orig", None) or ""))


def explain(error: Exception, *, room: Room | None, pool: int) -> tuple[str, str]:
    """Returns code and detail of a 503 answer. `room`: the limits when the database last answered; `pool`: connections of this process."""
    if isinstance(error, PoolTimeout):
        detail = (
            f"All {pool} database connections of this server process have been in use for half a minute "
            f"(BINNACLE_DATABASE_API_CONNECTIONS). {_AGAIN}"
        )
        return "connections_in_use", detail
    refused = _refused(error)
    if refused is not None:
        return "connections_in_use", f"{_limit(refused[1], room)} and all are in use. {_AGAIN} {_ADVICE}"
    orig = getattr(error, "orig", None)
    if isinstance(orig, QueryCanceled):
        return "database_slow", f"The database took too long to answer, so the request was stopped. {_AGAIN}"
    if isinstance(orig, DeadlockDetected):
        return "database_conflict", f"Several requests changed the same things at the same moment. {_AGAIN}"
    for kind, sentence in _SHORT.items():
        if isinstance(orig, kind):
            return "database_full", sentence
    return "database_unavailable", f"The database does not answer. {_AGAIN}"


_ADVICE = (
    "If this continues, an administrator can allow more database connections, or give each process fewer "
    "(docs/operating.md: Database connections)."
)


def _limit(scope: str | None, room: Room | None) -> str:
    if scope is None:
        return "The database allows " + (f"{room.server} connections (max_connections)" if room else "no more connections")
    number = getattr(room, scope, -1)
    return f"The database allows this {scope} {number if number >= 0 else 'a limited number of'} connections (CONNECTION LIMIT)"
