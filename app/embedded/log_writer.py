"""Writes its standard input to a log; when the log is full, renames it to `FILE.1` at the end of a line.

Run as a program by path: `log_writer.py FILE BYTES`. Uses only the standard library, and runs until the last writer has closed its input. It
ignores stop signals: these are for the programs that write, and their last lines must still be logged.
"""

import os
import signal
import sys

CHUNK = 65_536


class LogFile:
    """A log file at `path` that holds `limit` bytes plus the rest of a line."""

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._open()

    def write(self, data: bytes) -> None:
        """Appends the bytes; renames a full file first."""
        if self._size and self._size + len(data) > self._limit:
            end = 0 if self._whole else data.find(b"\n") + 1
            if self._whole or end:
                self._append(data[:end])
                self._set_aside()
                data = data[end:]
        self._append(data)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

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
        full = self._file
        self._open()
        os.close(full)


def main(path: str, limit: int) -> None:
    """Copies the input to the log until it ends. If writing fails, for example on a full disk, lines are dropped so that programs keep
    running.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    log: LogFile | None = None
    while data := os.read(0, CHUNK):
        try:
            log = log or LogFile(path, limit)
            log.write(data)
        except OSError:
            if log:
                log.close()
            log = None  # the next line opens the file again


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
