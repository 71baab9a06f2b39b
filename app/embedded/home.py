"""The data folder of `binnacle up`: its files, the process that uses it, and the running service's address.

lock         held by the running `up`; its text is that process's id
run.json     where the running service is (0600), only while it runs
admin.key    the first administrator's key (0600)
local.secret what takes its place on a service without keys (0600), only while it runs
url          where a service that `binnacle prepare` was told of answers
pepper       the secret under which keys are stored (0600)
worker.env   the environment of workers on other hosts (0600), where they are let in
postgres/ broker/ objects/ logs/
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from app.embedded.errors import EmbeddedError
from app.embedded.private import private_folder, secret_file, write_private

ALREADY_RUNNING = 3


@dataclass(frozen=True)
class Running:
    """What others need to find a running service; the URLs hold passwords."""

    pid: int
    url: str
    database_url: str
    broker_url: str
    storage_url: str


class Home:
    """One data folder."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder when it is missing. Only we may read it; as root, the database's account may pass through it to its own."""
        self.folder = private_folder(folder.expanduser().resolve(), mode=0o711 if os.geteuid() == 0 else 0o700)
        self.logs = private_folder(self.folder / "logs")
        self.postgres = self.folder / "postgres"
        self.broker = self.folder / "broker"
        self.key_file = self.folder / "admin.key"
        self.secret_file = self.folder / "local.secret"
        self.worker_file = self.folder / "worker.env"
        self._state = self.folder / "run.json"

    @property
    def pepper(self) -> str:
        """The secret of this folder's keys, made on first use."""
        return secret_file(self.folder / "pepper")

    @property
    def objects_url(self) -> str:
        """The storage URL of the folder's own objects."""
        return f"file://{private_folder(self.folder / 'objects')}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the folder. Raises EmbeddedError, naming the process and its URL, when another `up` has it.

        The kernel lets go of the lock when the holder dies, however it dies.
        """
        with (self.folder / "lock").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._already_running() from None
            self.withdraw()  # what a killed run published
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    def publish(self, running: Running) -> None:
        """Says where the service is."""
        write_private(self._state, json.dumps(asdict(running), indent=1))

    def withdraw(self) -> None:
        """Takes that back."""
        self._state.unlink(missing_ok=True)
        self.secret_file.unlink(missing_ok=True)

    def running(self) -> Running | None:
        """What the running `up` published, or None when it has not yet, or there is none."""
        try:
            return Running(**json.loads(self._state.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _already_running(self) -> EmbeddedError:
        pid = (self.folder / "lock").read_text().strip() or "unknown"
        running = self.running()
        where = f"at {running.url}" if running else "and is still starting"
        return EmbeddedError(
            "already_running",
            f"Binnacle already runs from {self.folder} (process {pid}) {where}. Use that service, stop it with `kill {pid}`, or choose another "
            "data folder with --home.",
            exit_status=ALREADY_RUNNING,
        )
