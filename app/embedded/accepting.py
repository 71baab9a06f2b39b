"""Shares the connections of one listening socket evenly among the API processes that accept on it.

The kernel wakes every process for a new connection, and the first to run takes it: of a hundred opened at once, one process took up to 99, and
kept them, since connections stay open. Here a process with more connections than another lets that one accept first.
"""

import asyncio
import logging
import mmap
import socket
import tempfile
from collections.abc import Callable
from typing import IO

log = logging.getLogger(__name__)

PATIENCE = 0.002
"""Seconds in which a process with fewer connections may accept a new one before this one does."""
EXHAUSTED = 1.0
"""Seconds without accepting after the process or the machine ran out of file descriptors."""
ABSENT = 0xFFFFFFFF
"""The count of a process that does not accept connections: no other waits for it."""


class Tally:
    """How many connections each process has, in memory that they share. `file`: from `tally_file`; `place`: this process's in it."""

    def __init__(self, file: int, place: int) -> None:
        self._counts = memoryview(mmap.mmap(file, 0)).cast("I")
        self._place = place

    @property
    def own(self) -> int:
        """Returns the number of this process's connections."""
        return self._counts[self._place]

    @own.setter
    def own(self, connections: int) -> None:
        self._counts[self._place] = connections

    @property
    def accepts(self) -> bool:
        """Returns whether this process accepts connections, or did until it was killed."""
        return self.own != ABSENT

    @property
    def is_ahead(self) -> bool:
        """Returns whether another process has fewer connections. A killed process keeps its count until it has restarted; this costs at most
        `PATIENCE`.
        """
        return self.own > min(self._counts)


def tally_file(processes: int) -> IO[bytes]:
    """Returns an open file for the tally of so many processes, which inherit its descriptor. It has no name, and goes with them."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller keeps it open
    file.write(ABSENT.to_bytes(4, "little") * processes)
    file.flush()
    return file


class Acceptor:
    """Accepts connections in the running event loop until it is closed, in the place of an `asyncio.Server`.

    make: returns the protocol of a new connection.
    """

    def __init__(self, listening: socket.socket, make: Callable[[], asyncio.Protocol], tally: Tally) -> None:
        self._listening, self._make, self._tally = listening, make, tally
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[object]] = set()
        self._later: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        tally.own = 0
        self._listen()

    def close(self) -> None:
        """Accepts no more connections."""
        self._tally.own = ABSENT
        self._loop.remove_reader(self._listening)
        if self._later is not None:
            self._later.cancel()

    async def wait_closed(self) -> None:
        """Returns once each accepted connection has its protocol."""
        await asyncio.gather(*self._connecting, return_exceptions=True)

    def _listen(self) -> None:
        self._loop.add_reader(self._listening, self._arrived)

    def _arrived(self) -> None:
        if self._tally.is_ahead:
            self._pause(PATIENCE, self._accept)
        else:
            self._accept()

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listening)
        self._later = self._loop.call_later(seconds, then)

    def _accept(self) -> None:
        self._listen()
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another process accepted it, or the client has gone
            return
        except OSError as fault:
            log.error("no connection can be accepted for a second", extra={"reason": str(fault)})
            self._pause(EXHAUSTED, self._listen)
            return
        self._tally.own += 1  # until the server counts its connections again
        task: asyncio.Task[object] = self._loop.create_task(self._loop.connect_accepted_socket(self._make, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
