"""Opens the database of this machine's service, for commands that run on the server without its API."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from binnacle import BinnacleError
from binnacle.address import home_folder

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@contextmanager
def service_database() -> Iterator["Session"]:
    """Opens a transaction on the database of `DATABASE_URL`, or of the service that runs from the data folder.

    Raises BinnacleError: no_database without either, settings_invalid for an invalid address, and those of `explained` and
    `migrate.check_prepared`.
    """
    from app import settings_file
    from app.db import make_engine, make_sessions
    from app.dsn import given_database
    from app.embedded.database import explained
    from app.embedded.home import find_running
    from app.migrate import check_prepared
    from app.settings import Settings

    settings_file.apply(Settings)
    folder = home_folder()
    running = find_running(folder)
    url = given_database() or (running.database_url if running else None)
    if url is None:
        raise BinnacleError("no_database", f"No service runs from {folder}. Start it with `binnacle up`, or set DATABASE_URL.")
    engine = make_engine(url, pool_size=1)
    try:
        with explained(url), make_sessions(engine).begin() as session:
            check_prepared(session)
            yield session
    finally:
        engine.dispose()
