"""Prepares a database for the service: migrates it, and creates the first administrator's key if keys are on."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from app.auth.keys import ensure_first_key
from app.db import make_engine, make_sessions
from app.embedded.errors import EmbeddedError
from app.migrate import upgrade

UNANSWERED = ("08", "28", "3D", "57P")
"""Beginnings of the SQLSTATEs of a database that is not there, shuts down, or does not let this role in."""


def prepare_database(url: str, *, key_file: Path | None, pepper: str) -> bool:
    """Migrates the database to the newest revision, and makes sure that `key_file` holds a valid key of the administrator, if enabled.

    Returns whether the file holds one: not if another administrator has disabled the account. `key_file` None: a server without keys.
    `pepper` is the secret of the HMACs of keys. Raises EmbeddedError as `explained` does, and BinnacleError `database_foreign` when another
    program has migrated the database.
    """
    with explained(url):
        upgrade(url)
        if key_file is None:
            return False
        engine = make_engine(url, pool_size=1)
        try:
            return ensure_first_key(make_sessions(engine), key_file, pepper=pepper) is not None
        finally:
            engine.dispose()


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Raises EmbeddedError for an error that an operator can mend: a database at `url` that does not answer, is read only, refuses a statement
    for a limit of its own, or lets this role do too little."""
    try:
        yield
    except DBAPIError as failed:
        given, reason = make_url(url), str(failed.orig).splitlines()[0].rstrip(".")
        known = {name: given.query[name] for name in ("host", "port") if name in given.query}  # others can be passwords
        where = given.set(drivername="postgresql", query=known).render_as_string(hide_password=True)
        if isinstance(failed.orig, InsufficientPrivilege):
            raise EmbeddedError("database_rights", _rights(given, reason)) from failed
        if isinstance(failed.orig, ReadOnlySqlTransaction):
            detail = (
                f"{where} can only be read, as a replica can: {reason}. Set DATABASE_URL to the address of the primary server."
            )
            raise EmbeddedError("database_read_only", detail) from failed
        if not isinstance(failed, OperationalError):
            raise
        state = getattr(failed.orig, "sqlstate", None)
        if state is None or state.startswith(UNANSWERED):
            detail = f"{where} does not answer: {reason}. Check DATABASE_URL and that server."
            raise EmbeddedError("database_unreachable", detail) from failed
        detail = f"{where} answers, and refused a statement: {reason}. Change that on the server, or in DATABASE_URL."
        raise EmbeddedError("database_refused", detail) from failed


def _rights(given: URL, reason: str) -> str:
    """Returns a text: what the role may not do, and how an administrator allows it."""
    role = given.username or os.environ.get("PGUSER") or getpass.getuser()
    database = given.database or role
    if "permission denied for schema" in reason or "permission denied for database" in reason:
        return (
            f"The role {role} may not make tables in the database {database} ({reason}). Since Postgres 15 only a database's owner may. "
            f'As an administrator of that server: ALTER DATABASE "{database}" OWNER TO "{role}".'
        )
    return (
        f"The tables of the database {database} belong to another role than {role} ({reason}). Set DATABASE_URL to the role that owns them "
        f'(psql shows it: \\dt), or as an administrator in that database: REASSIGN OWNED BY "OWNER" TO "{role}".'
    )
