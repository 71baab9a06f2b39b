"""What the embedded servers share: a folder with their data, a private socket and a password, and one child process."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from signal import Signals
from typing import ClassVar

from app.embedded.children import Child, ChildSpec
from app.embedded.errors import EmbeddedError
from app.embedded.processes import eldest, end_all, working_in


class Server(ABC):
    """A server in one folder: call `prepare()` once, then run `child_spec()` under a supervisor, or call `start()` and `stop()`."""

    name: ClassVar[str]
    program: ClassVar[str]
    """The file name of its program."""
    stop_signal: ClassVar[Signals]
    """Makes the server write everything and exit."""
    hard_signals: ClassVar[Sequence[Signals]]
    """Sent in turn to a server that does not stop, and to its processes."""

    def __init__(self, folder: Path, *, listen: tuple[str, int] | None, log: Path | None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = log or folder / f"{self.name}.log"
        self._listen = listen
        self._sockets: Path | None = None
        """The folder of its socket, which may be outside `folder`."""
        self._password = ""
        self._child: Child | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Creates what the server needs to start; may be called again."""

    @abstractmethod
    def child_spec(self) -> ChildSpec:
        """Returns how to run the server."""

    @abstractmethod
    def answers(self) -> bool:
        """Returns whether the server accepts commands."""

    def start(self, timeout: float = 60) -> None:
        """Prepares and starts the server and waits until it answers; for tests and tools without a supervisor."""
        self.prepare()
        self._child = Child(self.child_spec())
        self._child.start()
        self._child.wait_ready(timeout)

    def stop(self) -> None:
        """Stops the server gently; returns when it has written everything and exited."""
        if self._child:
            self._child.stop()
            self._child = None

    def kill(self) -> None:
        """Kills the server and its own processes with SIGKILL, like a crash."""
        if self._child:
            self._child.kill()
            self._child.forget()
            self._child = None

    def remove(self) -> None:
        """Stops the server and deletes its folder with all its data."""
        self.stop()
        self.clear_leftovers()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def processes(self) -> list[int]:
        """Returns the ids of the server of this folder and of its own processes, also of one that another supervisor started."""
        return working_in(self.data, self.program)

    def clear_leftovers(self) -> None:
        """Stops a server of this folder that outlived its supervisor. Raises EmbeddedError if it cannot be stopped."""
        # a server's own processes understand signals differently: its stop signal, sent to them too, can end Postgres as after a crash
        ended = end_all(lambda: eldest(self.processes()), [(self.stop_signal, 20.0)])
        if ended or end_all(self.processes, [(number, 5.0) for number in self.hard_signals]):
            return
        raise EmbeddedError(f"{self.name}_leftover", f"processes {self.processes()} still use {self.data} and cannot be stopped.")
