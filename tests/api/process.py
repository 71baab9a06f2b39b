"""The API as a process of its own, as it is deployed: what it uses of memory can be measured, and it shares no lock with the test."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx2
import psutil
from sqlalchemy.orm import Session, sessionmaker

from app.auth import repository
from app.auth.keys import new_key
from app.db import make_engine, make_sessions
from app.embedded.accepting import ABSENT, Tally
from app.settings import Settings
from tests.api.running import VERIFY

ROOT = Path(__file__).parents[2]


class ApiProcess:
    """`python -m app.server` over the settings' database, broker and storage.

    at: a listening socket to serve on instead of a new one. tally: the file and place of one that shares it with others. root: the checkout
    that holds the program, with its own environment where it is another than this one.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        at: socket.socket | None = None,
        tally: tuple[int, int] | None = None,
        root: Path = ROOT,
        **environment: str,
    ) -> None:
        self.settings = settings
        self.sessions: sessionmaker[Session] = make_sessions(make_engine(settings.database_url.get_secret_value()))
        self.log = folder / "api.log"
        self._environment = {**self._settings(), **environment}
        self.url = ""
        self._at, self._tally, self._root = at, tally, root
        self._complaints: list[str] = []
        self._read = 0

    def _settings(self) -> dict[str, str]:
        urls = {
            name.upper(): getattr(self.settings, name).get_secret_value()
            for name in ("database_url", "broker_url", "storage_url")
        }
        pepper = self.settings.key_pepper.get_secret_value()
        named = {f"BINNACLE_{name.upper()}": str(getattr(self.settings, name)) for name in ("broker_prefix", "home")}
        return {**urls, **named, "BINNACLE_KEY_PEPPER": pepper}

    def __enter__(self) -> Self:
        with contextlib.nullcontext(self._at) if self._at else socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            python = sys.executable if self._root == ROOT else str(self._root / ".venv" / "bin" / "python")
            command = [python, "-m", "app.server", "--fd", str(listening.fileno())]
            command += ["--tally", *map(str, self._tally)] if self._tally else []
            with self.log.open("ab") as out:
                self.process = subprocess.Popen(
                    command,
                    cwd=self._root,
                    env={**os.environ, **self._environment},
                    stdout=out,
                    stderr=out,
                    pass_fds=[listening.fileno(), *([self._tally[0]] if self._tally else [])],
                )
        assert httpx2.get(f"{self.url}/readyz", timeout=120, verify=VERIFY).status_code == 200, self.log.read_text()[-3000:]
        while self._tally and Tally(*self._tally).own == ABSENT:  # the other process has answered
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(120)
        self.sessions.kw["bind"].dispose()

    def key(self, owner: str, role: str = "member") -> str:
        """A key of that owner and role, made as the command line makes them."""
        made = new_key(owner, role, self.settings.key_pepper.get_secret_value())
        with self.sessions.begin() as session:
            repository.add_user(session, owner, "test")
            session.add(made.row)
        return made.text

    def client(self, owner: str = "ada", role: str = "member") -> httpx2.Client:
        """A client with a new key."""
        headers = {"Authorization": f"Bearer {self.key(owner, role)}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=120, verify=VERIFY)

    def memory(self) -> int:
        """The resident memory of the process, in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def complaints(self) -> list[str]:
        """Lines of the log so far that report an unexpected error or begin a traceback. Reads only lines that were added since the last call."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        self._complaints += [line for line in whole.decode().splitlines() if "unexpected_error" in line or "Traceback" in line]
        return list(self._complaints)


def peak(process: ApiProcess, until: float, every: float = 0.02) -> int:
    """The most memory that the process had, looked at every `every` seconds until this time of the monotonic clock."""
    most = 0
    while time.monotonic() < until:
        most = max(most, process.memory())
        time.sleep(every)
    return most
