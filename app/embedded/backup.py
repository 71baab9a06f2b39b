"""Backs up and restores the data folder of `binnacle up`: a Postgres dump, the objects and the secrets.

    backup.json      describes the backup
    database.dump    pg_dump's custom format; pg_restore of the same or a newer major version reads it
    objects/         named by their SHA-256
    pepper, admin.key

The service may keep running: the dump is one snapshot, and all objects that it refers to were stored before it and are copied after it.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from psycopg.conninfo import make_conninfo
from sqlalchemy import make_url, text

from app.db import make_engine
from app.dsn import given_database
from app.embedded.accounts import server_account
from app.embedded.database import explained
from app.embedded.errors import EmbeddedError
from app.embedded.home import Home
from app.embedded.postgres import Postgres
from app.embedded.postgres_programs import find_programs
from app.embedded.private import private_folder, write_private
from binnacle.version import VERSION
from binnacle.words.counting import counted

MANIFEST = "backup.json"
SECRETS = ("pepper", "admin.key")
REFERENCES = text(
    "SELECT conrelid::regclass::text, quote_ident(attname) FROM pg_constraint "
    "JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1] WHERE contype = 'f' AND confrelid = to_regclass('blobs')"
)
"""Tables and columns, quoted, with digests of objects as values: the foreign keys to `blobs`."""


@dataclass(frozen=True)
class Manifest:
    """The content of a backup. `objects` is the number of files; None if they are in a bucket, which needs its own backup. `missing` is the
    number of objects that the database refers to and that were not there to copy."""

    version: str
    made_at: str
    objects: int | None
    bytes: int
    missing: int = 0


def back_up(home: Home, target: Path) -> Manifest:
    """Writes everything in `home` to the new folder `target`. Raises EmbeddedError on failure and then leaves no partial backup.

    Unless `binnacle up` runs from `home`, the environment's DATABASE_URL and STORAGE_URL name the database and the objects, as they do for
    `binnacle up`. A pepper in the environment takes precedence over the folder's.
    """
    if target.exists():
        raise EmbeddedError("backup_exists", f"{target} already exists; choose a folder that does not.")
    partial = private_folder(target.absolute().with_name(f".{target.name}.partial.{os.getpid()}"))
    try:
        with _database(home) as url:
            running = home.running()
            dump = partial / "database.dump"
            dump.touch(mode=0o600)
            referenced = _referenced(url)
            _client(home, url, "pg_dump", "--format=custom", "--no-owner", f"--file={dump}")
            objects = _objects_of(home, running.storage_url if running else os.environ.get("STORAGE_URL"))
            count, size, missing = None, 0, set[str]()
            if objects is not None:
                count, size = _copy_objects(objects, partial / "objects")
                missing = referenced - {path.name for path in (partial / "objects").iterdir()}
                missing &= _referenced(url) if missing else set()  # without those that were removed meanwhile
        if missing and not count:
            raise EmbeddedError(
                "objects_elsewhere",
                f"None of the {counted(len(missing), 'object')} that the database refers to is in {objects}. "
                "Set STORAGE_URL to where the service keeps "
                "them, as for `binnacle up`, or back up while it runs.",
            )
        for name in SECRETS:
            given = os.environ.get("BINNACLE_KEY_PEPPER") if name == "pepper" else None
            if given or (home.folder / name).exists():
                write_private(partial / name, given or (home.folder / name).read_text())
        made = Manifest(VERSION, datetime.now(UTC).isoformat(timespec="seconds"), count, size, len(missing))
        write_private(partial / MANIFEST, json.dumps(asdict(made), indent=1))
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


def restore(source: Path, home: Home) -> Manifest:
    """Restores a backup into the empty data folder `home`. Raises EmbeddedError when `home` has data or the backup is incomplete."""
    try:
        manifest = Manifest(**json.loads((source / MANIFEST).read_text()))
    except (OSError, ValueError, TypeError) as broken:
        raise EmbeddedError(
            "no_backup", f"{source} holds no backup of Binnacle: {MANIFEST} cannot be read ({broken})."
        ) from broken
    _verify(source / "objects", manifest.objects)
    with home.lock():
        postgres = Postgres(home.postgres, log=home.logs / "postgres.log")
        if postgres.data.exists() or any((home.folder / "objects").glob("sha256/*")):
            raise EmbeddedError("home_not_empty", f"{home.folder} already holds data; restore into a new folder, then use it.")
        for name in SECRETS:
            if (source / name).exists():
                write_private(home.folder / name, (source / name).read_text())
        postgres.start()
        try:
            _client(home, postgres.url, "pg_restore", "--exit-on-error", "--no-owner", str(source / "database.dump"))
        finally:
            postgres.stop()
        if manifest.objects is not None:
            _copy_objects(source / "objects", private_folder(home.folder / "objects") / "sha256")
    return manifest


@contextmanager
def _database(home: Home) -> Iterator[str]:
    """Yields the URL of the running service's database, or of DATABASE_URL; without either, starts the folder's own database and stops it
    afterwards.
    """
    running = home.running()
    if url := running.database_url if running else given_database():
        yield url
        return
    with home.lock():
        postgres = Postgres(home.postgres, log=home.logs / "postgres.log")
        if not postgres.data.exists():
            raise EmbeddedError(
                "no_database",
                f"{home.folder} has no database, and no `binnacle up` runs from it. Choose another --home, or set DATABASE_URL as for the "
                "service.",
            )
        postgres.start()
        try:
            yield postgres.url
        finally:
            postgres.stop()


def _referenced(url: str) -> set[str]:
    """Returns the digests of the objects that rows of the database refer to, whatever version of the program made its tables."""
    engine = make_engine(url, pool_size=1)
    try:
        with explained(url), engine.connect() as connection:
            columns = connection.execute(REFERENCES).all()
            queries = [text(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL") for table, column in columns]
            return {digest for query in queries for digest in connection.scalars(query)}
    finally:
        engine.dispose()


def _client(home: Home, url: str, program: str, *arguments: str) -> None:
    """Runs a Postgres program on the database of `url`. The password is in the environment, because other accounts can read command lines."""
    programs = find_programs(server_account(), Postgres(home.postgres).folder / "programs")
    where = make_url(url)
    _, given = where.get_dialect()().create_connect_args(where)  # also several hosts, a socket, and options such as sslmode
    password = given.pop("password", "")
    environment = {**os.environ, "LC_ALL": "C"} | ({"PGPASSWORD": str(password)} if password else {})
    command = [programs.path(program), f"--dbname={make_conninfo(**given)}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EmbeddedError(f"{program}_failed", f"{program}: {done.stderr.strip()[-2000:]}")


def _objects_of(home: Home, storage_url: str | None) -> Path | None:
    """Returns the folder of the objects, or None if they are in a bucket."""
    if storage_url is None:
        return home.folder / "objects" / "sha256"
    parts = urlsplit(storage_url)
    return Path(unquote(parts.path)) / "sha256" if parts.scheme == "file" else None


def _copy_objects(source: Path, target: Path) -> tuple[int, int]:
    """Copies every object; returns their number and bytes. Skips objects that are removed meanwhile, since nothing refers to them."""
    private_folder(target)
    count = size = 0
    for path in sorted(source.iterdir()) if source.exists() else []:
        try:
            shutil.copyfile(path, target / path.name)
        except FileNotFoundError:
            continue
        (target / path.name).chmod(0o600)
        count, size = count + 1, size + (target / path.name).stat().st_size
    return count, size


def _verify(objects: Path, expected: int | None) -> None:
    """Raises EmbeddedError when an object is missing or does not match the digest in its name."""
    paths = sorted(objects.iterdir()) if objects.exists() else []
    if expected is not None and len(paths) != expected:
        raise EmbeddedError(
            "backup_not_whole", f"{objects} holds {counted(len(paths), 'object')}, but {expected} were backed up."
        )
    for path in paths:
        with path.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != path.name:
                raise EmbeddedError(
                    "backup_damaged", f"{path} is damaged: its SHA-256 differs from its name. Use another backup."
                )
