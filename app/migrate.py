"""Migrates a database to the newest schema with Alembic, one process at a time."""

from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.orm import Session

import migrations
from binnacle.errors import BinnacleError

OURS = "job_events"
"""A table that exists in every version of Binnacle."""
LOCK = 0x42494E4E  # "BINN": advisory lock, so that only one of several starting processes migrates


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


@lru_cache
def head_revision() -> str:
    """Returns the newest revision of this installation. Raises when the history has more than one head."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("the migrations folder is empty")
    return head


@lru_cache
def _revisions() -> frozenset[str]:
    """Returns every revision of this installation, read from the disk once."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def knows(revision: str) -> bool:
    """Returns whether this installation has the revision; a revision it lacks comes from a newer installation."""
    return revision in _revisions()


def current_revision(session: Session) -> str | None:
    """Returns the database's revision; None for a database that was never migrated."""
    return MigrationContext.configure(session.connection()).get_current_revision()


def check_prepared(session: Session) -> None:
    """Raises BinnacleError for a database without the tables of this installation: `database_not_prepared` if `binnacle prepare` can make them,
    `database_foreign` if another program has migrated it.
    """
    revision = current_revision(session)
    if revision is None or (knows(revision) and revision != head_revision()):
        state = "is empty" if revision is None else f"is at revision {revision}"
        detail = f"The database {state}, this installation needs revision {head_revision()}. Run `binnacle prepare`, or start the service."
        raise BinnacleError("database_not_prepared", detail)
    if not knows(revision) and not inspect(session.connection()).has_table(OURS):
        raise BinnacleError("database_foreign", _foreign(session.connection(), revision))


def upgrade(url: str, revision: str = "head") -> None:
    """Migrates the database at `url` upwards; concurrent callers wait for each other, and later callers find nothing to do.

    Leaves a database alone that a newer installation has migrated: during a rolling restart both versions serve it. Raises BinnacleError
    `database_foreign` for a database that another program has migrated.
    """
    _run(url, command.upgrade, revision)


def downgrade(url: str, revision: str) -> None:
    """Migrates the database downwards, to a revision or `base`."""
    _run(url, command.downgrade, revision)


def _foreign(connection: Connection, present: str) -> str:
    name = connection.scalar(text("SELECT current_database()"))
    return (
        f"The database {name} belongs to another program: its Alembic revision is {present}, which is not one of Binnacle's. "
        "Give Binnacle a database of its own: CREATE DATABASE binnacle OWNER ROLE."
    )


def _run(url: str, step: object, revision: str) -> None:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
            connection.commit()
            present = MigrationContext.configure(connection).get_current_revision()
            if present is not None and not knows(present):
                if not inspect(connection).has_table(OURS):
                    raise BinnacleError("database_foreign", _foreign(connection, present))
                return
            config = _config()
            config.attributes["connection"] = connection
            step(config, revision)  # type: ignore[operator]
            connection.commit()
    finally:
        engine.dispose()
