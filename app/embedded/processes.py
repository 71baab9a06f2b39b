"""Finds processes that work in a folder, from /proc, and stops them."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from app.retrying import comes_true


def working_in(folder: Path, program: str | None = None) -> list[int]:
    """Returns the processes with `folder` as their working folder; with `program`, only those that run the program of this file name.

    Both servers change into their data folder, so this finds servers left after a crash without a pid file, which may name an unrelated
    process by then. Other programs may stand in the folder too: a shell, rsync.
    """
    target = folder.resolve()
    return _pids(lambda proc: (proc / "cwd").readlink() == target and program in {None, _program(proc)})


def _program(proc: Path) -> str:
    """Returns the file name of the process's program. The kernel adds " (deleted)" after an upgrade has replaced the file."""
    return (proc / "exe").readlink().name.removesuffix(" (deleted)")


def eldest(pids: Sequence[int]) -> list[int]:
    """Returns those of the processes that were not started by another of them: the server of a server and its own processes. Leaves out those
    that have ended meanwhile."""
    return [pid for pid in pids if _parent(pid) not in {None, *pids}]


def _parent(pid: int) -> int | None:
    """Returns the process that started this one; None when this one has ended. The name, in brackets, may hold any character."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def carrying(mark: str) -> list[int]:
    """Returns the processes, except this one, that were started with `mark` ("NAME=value") in their environment."""
    wanted = os.fsencode(mark)
    return [pid for pid in _pids(lambda proc: wanted in (proc / "environ").read_bytes().split(b"\0")) if pid != os.getpid()]


def _pids(test: Callable[[Path], bool]) -> list[int]:
    pids = []
    for proc in Path("/proc").iterdir():
        if not proc.name.isdigit():
            continue
        try:
            if test(proc):
                pids.append(int(proc.name))
        except OSError:  # the process ended meanwhile, or belongs to another account
            continue
    return pids


def end_all(find: Callable[[], list[int]], signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Sends each signal in turn to the processes that `find` returns, and waits up to its seconds; returns whether all have ended."""
    for number, wait in signals:
        for pid in find():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        if comes_true(lambda: not find(), wait, every=0.05):
            return True
    return False
