"""What only some machines allow a test: a small disk, a memory limit, another clock. Elsewhere each raises Unavailable with the reason."""

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


class Unavailable(Exception):
    """This machine does not allow it; the message is the reason."""


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size in `folder`. Raises Unavailable where nothing may be mounted."""
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"no file system may be mounted ({done.stderr.strip().splitlines()[0]})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """A control group below our own that gives its processes `limit` bytes together. Raises Unavailable where none may be made."""
    own, setting = _own_group()
    group = own / f"binnacle-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
    except OSError as error:
        raise Unavailable(f"no memory control group may be made ({error.strerror})") from error
    try:
        try:
            (group / setting).write_text(str(limit))
        except OSError as error:
            raise Unavailable(f"a control group's memory may not be limited ({error.strerror})") from error
        yield group
    finally:
        group.rmdir()


def _own_group() -> tuple[Path, str]:
    """Our own group in the memory hierarchy, and what its limit is called there."""
    try:
        lines = [line.split(":", maxsplit=2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError as error:
        raise Unavailable("there are no control groups") from error
    for _number, controllers, path in lines:
        if "memory" in controllers.split(","):
            return CGROUPS / "memory" / path.lstrip("/"), "memory.limit_in_bytes"
    for _number, controllers, path in lines:
        if not controllers:
            return CGROUPS / path.lstrip("/"), "memory.max"
    raise Unavailable("there is no memory control group")


def joining(group: Path) -> list[str]:
    """The words before a command line that is to run in the group."""
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]


class Clock:
    """The wall clock of the processes started with `environment`, moved by a file; monotonic clocks and the machine's own stay."""

    def __init__(self, file: Path) -> None:
        if FAKETIME is None:
            raise Unavailable("libfaketime is not installed (Debian: apt install faketime)")
        self._file = file
        self.set("+0")
        self.environment = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(Path(__file__).parent / "faked"),
        }

    def ahead(self) -> float:
        """How many seconds a new process with this clock is ahead of the true time."""
        command = [sys.executable, "-c", "import time; print(time.time())"]
        told = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True, check=True).stdout
        return float(told) - time.time()

    def set(self, offset: str) -> None:
        """`+2h`, `-30d`: from the true time."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.replace(self._file)
