"""Limits the size of request heads and the idle time of connections, which uvicorn does not limit.

Without bounds whoever reaches the port takes memory with headers that do not end, and every file descriptor there is with requests that
do not end and answers that nobody takes.
"""

import asyncio
import socket
import sys

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 1024
"""Bytes of a request before its body: its line and headers."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol; a connection ends when a request's head is too large, or after `silence` seconds in which

    - no whole head came, counted from where it should begin: bytes that drip in do not buy time;
    - nothing of a body came, though the application would have taken it;
    - nothing of an answer was taken. The kernel counts this, for it alone sees what lies in its buffers when the answer is already over
      for us. A stream that has nothing to say is not silence, and a client that is gone without a word is found by the same count.
    """

    silence = 60.0

    _head: int | None = None
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connected."""
        super().connection_made(transport)
        one = transport.get_extra_info("socket")
        if sys.platform == "linux" and one.family != socket.AF_UNIX:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.silence * 1000))
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._expect_nothing()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head = 0
        self._expect()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What follows is its body, which has limits of its own."""
        self._head = None
        self._expect()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body came."""
        self._expect()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: it is for us to speak."""
        self._expect_nothing()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes came; too many without an end of the headers end the connection."""
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > LARGEST_HEAD and not self.transport.is_closing():
                self.send_400_response("The request line and headers are too large.")

    def _expect(self) -> None:
        self._expect_nothing()
        self._patience = self.loop.call_later(self.silence, self._silent)

    def _expect_nothing(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _silent(self) -> None:
        if self.flow.read_paused:  # it is we who have not taken what came
            self._expect()
        else:
            self.transport.abort()


def bounded(silence: float) -> type[BoundedConnection]:
    """The protocol with that many seconds of patience, for uvicorn, which makes its protocols itself."""
    return type("BoundedConnection", (BoundedConnection,), {"silence": silence})
