"""Opens the database of this machine's service, for commands that run on the server without its API."""

import os
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

    Raises BinnacleError: no_database without either, settings_invalid for an invalid address, database_unreachable.
    """
    from sqlalchemy.exc import OperationalError

    from app import settings_file
    from app.db import make_engine, make_sessions
    from app.dsn import database_url
    from app.embedded.database import unreachable
    from app.embedded.home import Home
    from app.settings import Settings

    settings_file.apply(Settings)
    folder = home_folder()
    running = Home(folder).running() if folder.is_dir() else None
    url = os.environ.get("DATABASE_URL") or (running.database_url if running else None)
    if url is None:
        raise BinnacleError("no_database", f"No service runs from {folder}. Start it with `binnacle up`, or set DATABASE_URL.")
    try:
        engine = make_engine(database_url(url), pool_size=1)
    except ValueError as error:
        raise BinnacleError("settings_invalid", f"DATABASE_URL is not valid. {error}") from None
    try:
        try:
            engine.connect().close()
        except OperationalError as failed:
            raise unreachable(url, failed) from failed
        with make_sessions(engine).begin() as session:
            yield session
    finally:
        engine.dispose()
