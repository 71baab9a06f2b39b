"""Connects a child process to its log: a pipe, and a process that writes and rotates the file (`log_writer`).

Both ends of the pipe stay open here, so that a restarted writer or child uses the same pipe and no line is lost.
"""

import fcntl
import os
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

from app.embedded import log_writer
from app.retrying import comes_true

DRAIN_SECONDS = 2.0


class LogPipe:
    """The log of one child; `path` holds up to `limit` bytes and the rest of a line, and `path`.1 the bytes before."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._ends: tuple[int, int] | None = None
        self._writer: subprocess.Popen[bytes] | None = None

    def open(self) -> int:
        """Returns the descriptor that the child writes to."""
        if self._ends is None:
            self._ends = os.pipe()
        self.keep_writing()
        return self._ends[1]

    def keep_writing(self) -> None:
        """Starts the writer unless it is running."""
        if self._ends is None or (self._writer is not None and self._writer.poll() is None):
            return
        program = [sys.executable, "-I", "-S", log_writer.__file__, str(self._path), str(self._limit)]
        self._writer = subprocess.Popen(program, stdin=self._ends[0], env={}, cwd="/", start_new_session=True)

    def drain(self) -> None:
        """Waits until all output so far is written, at most two seconds."""
        comes_true(lambda: self._ends is None or not _unread(self._ends[0]), DRAIN_SECONDS, every=0.005)
        time.sleep(0.01)  # time between the writer's read and its write

    def close(self) -> None:
        """Closes the pipe and waits until the writer has written everything; a process that outlived the child may keep the writer running."""
        if self._ends is None:
            return
        for end in self._ends:
            os.close(end)
        self._ends = None
        if self._writer is not None:
            with suppress(subprocess.TimeoutExpired):
                self._writer.wait(DRAIN_SECONDS)


def _unread(end: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(end, termios.FIONREAD, b"\0" * 4))[0])
