"""An application that serves on loopback from a thread of the test, with clients, keys, groups and models for it."""

import ssl
import threading
import time
from typing import Any

import httpx2
from sqlalchemy.orm import Session, sessionmaker

from app.auth import repository
from app.auth.keys import new_key
from app.jobs.waiting import Wakeups
from app.models.models import Model
from app.server import Server, make_server
from app.settings import Settings

VERIFY = ssl.create_default_context()
"""Made once: reading the certificates takes longer than most requests here."""
PEPPER = "a pepper of forty characters for tests!!"
FACTS = {
    "layers": 8,
    "hidden_size": 64,
    "context_length": 512,
    "vocab_size": 100,
    "weight_hash": "a" * 64,
    "tokenizer_hash": "b" * 64,
    "config_hash": "c" * 64,
    "reading_hash": "d" * 64,
    "proofs_version": 1,
    "widths": {"residual": 64, "mlp_contribution": 64, "attn_out": 64, "k_proj": 16, "v_proj": 16},
}


class Running:
    """An application in a thread. `context` is its own; `sessions` are the test's, on the same database."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        self.settings = settings
        self.sessions = sessions
        self._server: Server = make_server(settings, "127.0.0.1", 0)
        self._thread = threading.Thread(target=self._server.run)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        assert self._server.started, "the application did not start"
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        if self._server.started:
            self.context.part(Wakeups).release()
        self._server.should_exit = True
        self._thread.join(timeout=120)
        assert not self._thread.is_alive()

    @property
    def requests(self) -> int:
        """How many requests it is answering now."""
        return len(self._server.server_state.tasks)

    @property
    def context(self) -> Any:
        return self._server.config.app.state.context

    def key(self, owner: str, role: str = "member", **more: Any) -> str:
        made = new_key(owner, role, PEPPER, **more)
        with self.sessions.begin() as session:
            repository.add_user(session, owner, "test")
            session.add(made.row)
        return made.text

    def group(self, name: str, *members: str) -> None:
        with self.sessions.begin() as session:
            repository.add_group(session, name, "test")
            for member in members:
                repository.add_user(session, member, "test")
                repository.add_member(session, name, member)

    def client(self, owner: str = "ada", role: str = "member", **headers: str) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key(owner, role)}", **headers}, timeout=120, verify=VERIFY
        )

    def add_model(self, name: str = "demo", **values: Any) -> None:
        row = {"source": f"/models/{name}", "state": "ready", "facts": FACTS, "created_by": "admin", **values}
        with self.sessions.begin() as session:
            session.add(Model(name=name, **row))
