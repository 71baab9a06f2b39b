"""Prepares a database for the service: migrates it, and creates the first administrator's key if keys are on."""

import getpass
import os
from pathlib import Path

from psycopg.errors import InsufficientPrivilege
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError, ProgrammingError

from app.auth.keys import ensure_first_key
from app.db import make_engine, make_sessions
from app.embedded.errors import EmbeddedError
from app.migrate import upgrade


def prepare_database(url: str, *, key_file: Path | None, pepper: str) -> bool:
    """Migrates the database to the newest revision, and makes sure that `key_file` holds a valid key of the administrator, if enabled.

    Returns whether the file holds one: not if another administrator has disabled the account. `key_file` None: a server without keys.
    `pepper` is the secret of the HMACs of keys. Raises EmbeddedError when the database does not answer or its role may not create tables, and
    BinnacleError `database_foreign` when another program has migrated the database.
    """
    try:
        upgrade(url)
        if key_file is None:
            return False
        engine = make_engine(url, pool_size=1)
        try:
            return ensure_first_key(make_sessions(engine), key_file, pepper=pepper) is not None
        finally:
            engine.dispose()
    except ProgrammingError as failed:
        if not isinstance(failed.orig, InsufficientPrivilege):
            raise
        given = make_url(url)
        role = given.username or os.environ.get("PGUSER") or getpass.getuser()
        raise EmbeddedError(
            "database_rights",
            f"The role {role} may not make tables in the database {given.database or role} ({str(failed.orig).splitlines()[0]}). Since "
            "Postgres 15 only a database's owner may. As an administrator of that server: "
            f'ALTER DATABASE "{given.database or role}" OWNER TO "{role}".',
        ) from failed
    except OperationalError as failed:
        raise unreachable(url, failed) from failed


def unreachable(url: str, failed: OperationalError) -> EmbeddedError:
    """Returns the error for a database that does not answer, without its password."""
    where = make_url(url).set(drivername="postgresql").render_as_string(hide_password=True)
    reason = str(failed.orig).splitlines()[0].rstrip(".")
    return EmbeddedError("database_unreachable", f"{where} does not answer: {reason}. Check DATABASE_URL and that server.")
