"""Fixtures of the fault tests: those of the worker tests, a connection to Postgres that can be cut, the ledger of the suite, and what must
hold of a job that ended after a fault."""

import contextlib
import hashlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import sqlalchemy

from app.jobs.models import Artifact
from tests.chaos.ledger import FOLDER, Ledger
from tests.services import make_folder
from tests.worker.conftest import Service, live, make_service  # noqa: F401


class Cable:
    """A socket folder in front of a Postgres socket; the traffic can be cut: silently, both ways, connections left open."""

    def __init__(self, database_url: str) -> None:
        host = unquote(parse_qs(urlsplit(database_url).query)["host"][0])
        self._target = f"{host}/.s.PGSQL.5432"
        self.folder = make_folder()
        self.url = database_url.split("?", maxsplit=1)[0] + f"?host={self.folder}&port=5432"
        self._cut = threading.Event()
        self._closed = threading.Event()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.folder / ".s.PGSQL.5432"))
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """From now on nothing gets through in either direction, and neither side is told."""
        self._cut.set()

    def mend(self) -> None:
        """What was written meanwhile arrives now."""
        self._cut.clear()

    def close(self) -> None:
        self._closed.set()
        self._server.close()
        (self.folder / ".s.PGSQL.5432").unlink()
        self.folder.rmdir()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with client, server, contextlib.suppress(OSError):
            while not self._closed.is_set():
                if self._cut.is_set():
                    self._closed.wait(0.05)
                    continue
                for readable in select.select([client, server], [], [], 0.1)[0]:
                    if self._cut.is_set():
                        break
                    data = readable.recv(65536)
                    if not data:
                        return
                    other[readable].sendall(data)


@pytest.fixture
def cable(database_url: str) -> Iterator[Cable]:
    """A cuttable way to this test's database."""
    made = Cable(database_url)
    yield made
    made.close()


@pytest.fixture
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """Where a test of the suite writes its line; `python -m tests.chaos` says where it will look for them."""
    return Ledger(Path(os.environ.get(FOLDER, tmp_path)), request.session.items.index(request.node))


class Ended:
    """What must hold of a job after every fault."""

    @staticmethod
    def well(service: Service, job_id: str, *, seconds: float = 120) -> None:
        """Fails unless the job succeeded, ended once, and left its files in the storage."""
        job = service.ended(job_id, seconds)
        assert job.state == "succeeded", (job.state, job.error)
        types = service.event_types(job_id)
        assert [t for t in types if t in ("succeeded", "failed", "cancelled")] == ["succeeded"]
        assert types[-1] == "succeeded"
        assert types.count("started") == job.attempt
        with service.sessions() as session:
            digests = session.scalars(sqlalchemy.select(Artifact.digest).where(Artifact.job_id == job_id)).all()
        assert digests
        for digest in digests:
            kept = Path(service.folder, "objects", "sha256", digest).read_bytes()
            assert hashlib.sha256(kept).hexdigest() == digest, "whole, and with its own bytes"
