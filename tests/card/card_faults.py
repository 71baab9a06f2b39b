"""Parts of the GPU card (tests/gpu/card) for the tests of its runner: some succeed, and one fails in each way in which a part can fail."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.gpu.card.record import Record, Setup


def good(_setup: Setup, record: Record) -> None:
    record.figure("speed", 12.5, "tokens/s", "a | in a note")
    record.check("difference", 0, most=0, why="it is the same")


def raises(_setup: Setup, record: Record) -> None:
    record.figure("before it", 1)
    raise ValueError("a planned fault")


def raises_in_a_section(_setup: Setup, record: Record) -> None:
    with record.section("first"):
        raise ValueError("a planned fault")
    record.figure("after it", 2)


def out_of_bounds(_setup: Setup, record: Record) -> None:
    record.check("difference", 3, most=0, why="it should be the same")


def not_a_number(_setup: Setup, record: Record) -> None:
    record.check("difference", float("nan"), most=1e-5, why="NaN is near nothing")


def killed(_setup: Setup, record: Record) -> None:
    record.figure("before it", 1)
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(setup: Setup, record: Record) -> None:
    """Hangs, with a child process that must not outlive it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    record.figure("child", child.pid)
    time.sleep(600)


def exits(_setup: Setup, _record: Record) -> None:
    os._exit(7)


def says_where(setup: Setup, record: Record) -> None:
    """Records the process that it runs in."""
    record.figure("pid", os.getpid())
    record.figure("command", Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode())
