"""The data folder of `binnacle up`: its files, the process that uses it, and the running service's address.

lock         held by the running `up`; contains the id of that process
run.json     the address of the service (0600), only while it runs
admin.key    the first administrator's key (0600)
local.secret the secret of a service without keys (0600), only while it runs
url          the service address that was given to `binnacle prepare`
pepper       the secret with which keys are hashed (0600)
worker.env   the environment of workers on other hosts (0600), if they are allowed
postgres/ broker/ objects/ logs/

`Home` makes the folder and closes it to other accounts; `find_running` only reads.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from app.embedded.errors import EmbeddedError
from app.embedded.private import private_folder, secret_file, write_private
from app.retrying import comes_true

ALREADY_RUNNING = 3
NO_KEY = "the account admin is disabled: ask another administrator for a key"
"""The text printed in the place of the first administrator's key."""


@dataclass(frozen=True)
class Running:
    """What other programs need to find a running service; the URLs contain passwords."""

    pid: int
    url: str
    database_url: str
    broker_url: str
    storage_url: str


def path_fault(folder: Path) -> str | None:
    """Returns what is wrong with the folder's path; None if the broker's configuration, lines of UTF-8, can hold it."""
    path = str(folder.expanduser().resolve())
    if "\n" not in path and os.fsencode(path).decode(errors="ignore") == path:
        return None
    return f"the path of the data folder, {path!a}, has a line break or bytes that are not UTF-8; rename it, or choose another --home"


def find_running(folder: Path) -> Running | None:
    """Returns what the `up` that runs from `folder` published; None if it has not published yet, or does not run. Changes nothing."""
    folder = folder.expanduser()
    try:
        with (folder / "lock").open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None  # a killed run leaves its address behind, but not its lock
    except BlockingIOError:
        pass
    except OSError:
        return None
    try:
        return Running(**json.loads((folder / "run.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


class Home:
    """A data folder, for the programs that write in it."""

    def __init__(self, folder: Path) -> None:
        """Creates the folder when it is missing. Only its owner may read it; under root, the database's account may pass through to its own
        folder. Raises EmbeddedError.
        """
        if fault := path_fault(folder):
            raise EmbeddedError("bad_folder", f"{fault}.")
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
        """Returns the secret for this folder's keys, created on first use."""
        return secret_file(self.folder / "pepper")

    @property
    def objects_url(self) -> str:
        """Returns the storage URL of the folder's own objects."""
        return private_folder(self.folder / "objects").as_uri()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the folder. Raises EmbeddedError, naming the process and its URL, when another `up` uses it.

        The kernel releases the lock when its holder dies for any reason.
        """
        with (self.folder / "lock").open("a+") as handle:
            if not _taken(handle):
                raise self._already_running()
            self.withdraw()  # removes the address that a killed run published
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    def publish(self, running: Running) -> None:
        """Publishes the address of the service."""
        write_private(self._state, json.dumps(asdict(running), indent=1))

    def withdraw(self) -> None:
        """Removes the published address."""
        self._state.unlink(missing_ok=True)
        self.secret_file.unlink(missing_ok=True)

    def running(self) -> Running | None:
        """Returns the same as `find_running`."""
        return find_running(self.folder)

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


def _taken(handle: TextIO) -> bool:
    """Takes the lock if it is free within half a second and returns whether it did: `running` of another process holds it for a moment."""

    def take() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    return comes_true(take, 0.5, every=0.05)
