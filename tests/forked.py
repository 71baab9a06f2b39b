"""Processes of our commands that need not import everything again: `python -m MODULE ...`, forked from a process that did.

A command imports for seconds what it then uses for milliseconds. The process that is forked has read no setting and opened nothing, so each
command reads its own environment, as one that `python` started does; it has its own memory, streams, signals and exit status.
"""

import gc
import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
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
"""No module that runs as a command, and none that reads a setting when it is imported."""


class Forking:
    """Runs commands one after another, each in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, arguments: Sequence[str], *, env: dict[str, str], folder: Path, seconds: float = 120) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of `python *arguments` (`-m MODULE ...`), run in the repository's root.

        folder: where the two streams are kept meanwhile. Ends the process and fails the test after so many seconds.
        """
        assert arguments[0] == "-m"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        out, err = folder / "stdout.txt", folder / "stderr.txt"
        order = {"arguments": list(arguments[1:]), "env": env, "out": str(out), "err": str(err)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        overdue = threading.Timer(seconds, os.kill, (pid, 9))
        overdue.start()
        status = int(self._process.stdout.readline())
        overdue.cancel()
        assert status != -9, f"{arguments} ran for {seconds} s: {out.read_text()}{err.read_text()}"
        return status, out.read_text(), err.read_text()

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    """One such process for the tests of this one; it ends with it."""
    forking = Forking()
    yield forking
    forking.close()


def _serve() -> None:
    """Forks one child for each line of standard input; returns in the child, ready to run its command, or exits at the end."""
    for module in PRELOADED:
        import_module(module)
    assert threading.active_count() == 1, "a fork would lose the other threads"
    gc.freeze()
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            _become(json.loads(line))
            return
        _answer(pid)
        _answer(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    sys.exit()


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become(order: dict[str, Any]) -> None:
    """Takes the streams, environment and arguments that the command is to have."""
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, order["out"], None), (2, order["err"], None)):
        opened = os.open(str(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC if flags is None else flags)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = list(order["arguments"])


if __name__ == "__main__":
    _serve()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
