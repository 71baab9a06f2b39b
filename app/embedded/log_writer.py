"""Writes its standard input to a log; a full one is set aside as `FILE.1`, in place of the one before, at the end of a line.

A program, run by path: `log_writer.py FILE BYTES`. It needs the standard library alone and lives until nobody can write to its input any
more: signals to stop are for the programs that write, and what they say last must still be written down.
"""

import os
import signal
import sys

CHUNK = 65_536


class LogFile:
    """The file under `path`, which holds `limit` bytes and the rest of a line."""

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._open()

    def write(self, data: bytes) -> None:
        """Appends the bytes, setting the file aside first if it is full."""
        if self._size and self._size + len(data) > self._limit:
            end = 0 if self._whole else data.find(b"\n") + 1
            if self._whole or end:
                self._append(data[:end])
                self._set_aside()
                data = data[end:]
        self._append(data)

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._file).st_size
        self._whole = True

    def _append(self, data: bytes) -> None:
        while data:
            written = os.write(self._file, data)
            self._size += written
            self._whole = data[:written].endswith(b"\n")
            data = data[written:]

    def _set_aside(self) -> None:
        os.replace(self._path, f"{self._path}.1")  # noqa: PTH105 - pathlib would be most of this program's memory
        os.close(self._file)
        self._open()


def main(path: str, limit: int) -> None:
    """Until the end of the input. Where nothing can be written, as on a full disk, lines are dropped rather than programs stopped."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    log: LogFile | None = None
    while data := os.read(0, CHUNK):
        try:
            log = log or LogFile(path, limit)
            log.write(data)
        except OSError:
            continue


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
