"""One application for many tests: after each test, its stores are put back as they were after its start.

An application takes longer to start than most tests take, and keeps its state in its database, its storage and its broker.
Tests that change anything else (its settings, its stores' addresses, the way it runs) have an application of their own.
"""

import shutil
import time
from pathlib import Path

from sqlalchemy import Engine, text

from app.db import make_engine, make_sessions
from app.embedded.broker import connect
from app.jobs.waiting import Wakeups
from app.settings import Settings
from tests.api.running import PEPPER, Running

KEPT = "kept"
"""A schema with a copy of every table that is not empty at the start."""
PATIENCE = 10.0
"""Seconds that requests still running after a test have to end."""


class Standing:
    """An application with one usable model `demo`, and `ready_again`, which puts its stores back."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self._as_made = settings, settings.model_copy(deep=True)
        self.closed = False
        self._objects, self._copies = settings.home / "objects", settings.home / "copies"
        self._engine = make_engine(settings.database_url.get_secret_value())
        self.running = Running(self.settings, make_sessions(self._engine))
        self.running.start()
        self.running.add_model()
        self._back = remember(self._engine)
        shutil.copytree(self._objects, self._copies)

    def ready_again(self) -> None:
        """Puts the stores back. Closes the application instead if a request does not end, if it was told to stop, or if its settings changed."""
        until = time.monotonic() + PATIENCE
        while self.running.requests and time.monotonic() < until:
            time.sleep(0.005)
        told = self.running.context.part(Wakeups).closing.is_set()
        if self.running.requests or told or self.settings != self._as_made:
            self.close()
            return
        with self._engine.begin() as connection:
            connection.execute(text(self._back))
        self._turns.clear()
        self._restore_files()
        with connect(self.settings.broker_url.get_secret_value()) as client:
            for key in list(client.scan_iter(match=f"{self.settings.broker_prefix}*")):
                client.delete(key)

    @property
    def _turns(self) -> set[tuple[str, str]]:
        """Rows of fair share that the application remembers as present; it must forget them when the table is put back."""
        found: set[tuple[str, str]] = self.running.context.database._sessions.kw["info"]["turns"]
        return found

    def _restore_files(self) -> None:
        kept, there = _files(self._copies), _files(self._objects)
        for name in there.keys() - kept.keys():
            (self._objects / name).unlink()
        for name, size in kept.items():
            if there.get(name) != size:
                (self._objects / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self._copies / name, self._objects / name)

    def close(self) -> None:
        """Stops the application, once. Fails if it does not stop."""
        if not self.closed:
            self.closed = True
            self.running.stop()
            self._engine.dispose()


def settings_at(database_url: str, broker_url: str, prefix: str, folder: Path) -> Settings:
    """Settings of an application, its home and its storage in `folder`."""
    return Settings(
        database_url=database_url, broker_url=broker_url, storage_url=f"file://{folder}/objects", broker_prefix=prefix,
        key_pepper=PEPPER, home=folder,
    )  # fmt: skip


def remember(engine: Engine) -> str:
    """Copies all rows to the schema KEPT; returns the SQL that puts rows and sequences back."""
    with engine.begin() as connection:
        names = list(connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")))
        filled = [name for name in names if connection.scalar(text(f"SELECT EXISTS (SELECT FROM public.{name})"))]
        places = connection.execute(
            text(
                "SELECT sequencename, coalesce(last_value, start_value), last_value IS NOT NULL "
                "FROM pg_sequences WHERE schemaname = 'public'"
            )
        ).all()
        connection.execute(text(f"CREATE SCHEMA {KEPT}"))
        for name in filled:
            connection.execute(text(f"CREATE TABLE {KEPT}.{name} AS TABLE public.{name}"))
    return "; ".join(
        [
            "SET LOCAL lock_timeout = '10s'",
            "SET LOCAL session_replication_role = replica",  # neither triggers nor references: all of it goes at once
            *(f"DELETE FROM public.{name}" for name in names),
            *(f"INSERT INTO public.{name} SELECT * FROM {KEPT}.{name}" for name in filled),
            *(f"SELECT setval('public.{name}', {value}, {used})" for name, value, used in places),
        ]
    )


def _files(folder: Path) -> dict[str, int]:
    """Sizes by path within the folder. Objects are named by their digests: the same size means the same content, unless a test harmed it."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
