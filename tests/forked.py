"""Runs our commands, `python -m MODULE ...`, in forks of a process that has imported everything, so that tests start them quickly.

A command imports for seconds what it then uses for milliseconds. The process that is forked has read no setting and opened nothing, so each
command reads its own environment, as one that `python` started does; it has its own memory, streams, signals and exit status.
"""

import gc
import itertools
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PRELOADED = (
    "app.main",
    "app.bell",
    "app.cli.checkup.gpu",
    "app.cli.checkup.running",
    "app.cli.checkup.stores",
    "app.cli.doctor",
    "app.cli.service",
    "app.cli.up",
    "app.storage.s3",
    "binnacle.cli.running",
    "boto3",
    "celery.bin.worker",
    "celery.worker",
)
"""None of these runs as a command or reads a setting when it is imported."""


class Forked:
    """A command that was started: what tests need of a `subprocess.Popen`. It leads a session of its own."""

    def __init__(self, arguments: list[str], pid: int, status: Path) -> None:
        self.args, self.pid, self._status = arguments, pid, status

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return int(self._status.read_text()) if self._status.exists() else None

    def wait(self, timeout: float) -> int:
        """The exit status. Raises TimeoutExpired where it does not end in so many seconds."""
        until = time.monotonic() + timeout
        while (found := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.02)
        return found

    def send_signal(self, number: int) -> None:
        """Sends the signal; does nothing where the command has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forking:
    """Runs commands, each in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._statuses = TemporaryDirectory()
        self._numbers = itertools.count()

    def run(self, arguments: Sequence[str], *, env: dict[str, str], folder: Path, seconds: float = 120) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of `python *arguments` (`-m MODULE ...`), run in the repository's root.

        folder: where the two streams are kept meanwhile. Ends the process and fails the test after so many seconds.
        """
        assert arguments[0] == "-m"
        assert self._process.stdout is not None
        out, err = folder / "stdout.txt", folder / "stderr.txt"
        pid = self._order(arguments, env, out, err)
        overdue = threading.Timer(seconds, os.kill, (pid, 9))
        overdue.start()
        status = int(self._process.stdout.readline())
        overdue.cancel()
        assert status != -9, f"{arguments} ran for {seconds} s: {out.read_text()}{err.read_text()}"
        return status, out.read_text(), err.read_text()

    def start(self, arguments: Sequence[str], *, env: dict[str, str], output: Path) -> Forked:
        """Starts the command, both of its streams appended to `output`."""
        assert arguments[0] == "-m"
        status = Path(self._statuses.name, str(next(self._numbers)))
        return Forked([*arguments], self._order(arguments, env, output, output, status), status)

    def _order(self, arguments: Sequence[str], env: dict[str, str], out: Path, err: Path, status: Path | None = None) -> int:
        """The process's id. status: the file that its exit status is to be written to; without one it is answered."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"arguments": list(arguments[1:]), "env": env, "out": str(out), "err": str(err), "status": status and str(status)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._statuses.cleanup()
        self._process.communicate(timeout=120)


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    """One process to fork from for all tests of this pytest process."""
    forking = Forking()
    yield forking
    forking.close()


def _serve() -> None:
    """Forks one child for each line of standard input; returns in the child, ready to run its command, or exits at the end."""
    for module in PRELOADED:
        import_module(module)
    assert threading.active_count() == 1, "a fork would lose the other threads"
    gc.freeze()
    started: dict[int, Path] = {}
    signal.signal(signal.SIGCHLD, lambda *_: _write_statuses(started))
    for line in sys.stdin:
        order = json.loads(line)
        if (pid := os.fork()) == 0:
            _become(order)
            return
        if order["status"]:
            started[pid] = Path(order["status"])
            _write_statuses(started)  # it may have ended before it was on the list
            _answer(pid)
        else:
            _answer(pid)
            _answer(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    sys.exit()


def _write_statuses(started: dict[int, Path]) -> None:
    """Writes the exit status of each that has ended, whole at once."""
    for pid, file in list(started.items()):
        with suppress(ChildProcessError):  # a signal came in between, and its handler has already taken the status
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended and started.pop(pid, None):
                written = file.with_suffix(".new")
                written.write_text(str(os.waitstatus_to_exitcode(status)))
                written.rename(file)


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become(order: dict[str, Any]) -> None:
    """Takes the streams, environment and arguments that the command is to have, and a session of its own if it was started."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    kept = os.O_TRUNC
    if order["status"]:
        os.setsid()
        kept = os.O_APPEND
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, order["out"], None), (2, order["err"], None)):
        opened = os.open(str(name), os.O_WRONLY | os.O_CREAT | kept if flags is None else flags)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = list(order["arguments"])


if __name__ == "__main__":
    _serve()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
