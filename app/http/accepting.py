"""Shares the connections of one listening socket among the API processes: each accepts a connection while no other has fewer.

The kernel wakes them all for a new connection, and the first to run takes it. That is nearly always the same one while they are idle, and
connections are kept open: without this, one process would answer most of a crowd's requests while the others wait.
"""

import asyncio
import logging
import mmap
import socket
from collections.abc import Callable
from typing import BinaryIO

log = logging.getLogger(__name__)

PATIENCE = 0.002
"""Seconds in which a process with fewer connections may take a new one, before one with more does."""
EXHAUSTED = 1.0
"""Seconds without accepting where the process or the machine has no file descriptor left."""


class Tally:
    """How many connections each process has, in a file that they share and map. `place`: this process's own in it."""

    def __init__(self, file: BinaryIO, place: int) -> None:
        self._counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("I")
        self._place = place
        self.own = 0

    @property
    def own(self) -> int:
        """This process's connections."""
        return self._counts[self._place]

    @own.setter
    def own(self, connections: int) -> None:
        self._counts[self._place] = connections

    @property
    def is_ahead(self) -> bool:
        """Whether another process has fewer. One that has died keeps its count until its successor starts."""
        return self.own > min(self._counts)

    @staticmethod
    def size(processes: int) -> int:
        """Bytes of the file."""
        return 4 * processes


class Acceptor:
    """Accepts from the shared socket in the running event loop until it is closed. `make` returns the protocol of a connection."""

    def __init__(self, listening: socket.socket, make: Callable[[], asyncio.Protocol], tally: Tally) -> None:
        self._listening, self._make, self._tally = listening, make, tally
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[object]] = set()
        self._later: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accepts no more connections."""
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Returns once every accepted connection has its protocol."""
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
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another process was quicker, or the client has gone
            return
        except OSError as fault:
            log.error("cannot accept connections", extra={"reason": str(fault)})
            self._pause(EXHAUSTED, self._listen)
            return
        connection.setblocking(False)
        self._tally.own += 1
        task: asyncio.Task[object] = self._loop.create_task(self._loop.connect_accepted_socket(self._make, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
