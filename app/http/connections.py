"""Limits the size of request heads and the idle time of connections, which uvicorn does not limit.

Without these limits, any client could use up memory with endless headers, and all file descriptors with requests that never end or answers
that it never reads.
"""

import asyncio
import socket
import sys

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 1024
"""Most bytes of a request's line and headers."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol with limits: closes a connection when a request's head is too large, or after `silence` seconds in which

    - the head of a request did not arrive in full, counted from its expected start: slow bytes do not extend the time, nor do empty lines;
    - the application waited for the body, and no byte of it arrived;
    - the client read nothing of the answer. The kernel counts this time (TCP_USER_TIMEOUT), because after the application has finished, the
    rest of the answer lies in kernel buffers. A stream without events is not silent; a client that vanished is found in the same way.
    """

    silence = 60.0

    _head: int | None = None
    """Bytes that arrived of a head, or of the headers after a body in chunks; None elsewhere."""
    _arriving = 0
    """Bytes of the piece of data that is being parsed."""
    _patience: asyncio.TimerHandle | None = None
    """The running timer of `silence`; None while the server must answer or an answered connection is idle (uvicorn limits that)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the limits of a new connection."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sys.platform == "linux" and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.silence * 1000))
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer of a closed connection."""
        self._expect_nothing()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Starts the limits of a request's head."""
        self._head = 0
        self._expect()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Ends the limit of the head; the body that follows has its own limits."""
        self._head = None
        self._expect()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Restarts the timer when a part of the body arrives."""
        self._head = None
        self._expect()
        super().on_body(body)

    def on_chunk_header(self) -> None:
        """Starts the limit of the headers that may follow the last chunk. They are dropped, so that none passes for one of the head."""
        self._head, self.headers = -self._arriving, []  # counted from the next piece: this one may be full of chunks

    def on_message_complete(self) -> None:
        """Stops the timer: the request is complete and the application must answer."""
        self._head = None
        self._expect_nothing()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Receives bytes; closes the connection when the head grows too large."""
        self._arriving = len(data)
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > LARGEST_HEAD and not self.transport.is_closing():
                self.send_400_response(
                    f"The request line and headers exceed {LARGEST_HEAD:,} bytes. Send a shorter address and fewer headers."
                )
        # uvicorn stops its timer of idle connections at any byte, also of an empty line or of the rest of a body that was answered early
        if self._patience is None and self.cycle is not None and self.cycle.response_complete:
            self._expect()

    def _expect(self) -> None:
        self._expect_nothing()
        self._patience = self.loop.call_later(self.silence, self._silent)

    def _expect_nothing(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _silent(self) -> None:
        if self.flow.read_paused:  # the application has not read the data that arrived
            self._expect()
        else:
            self.transport.abort()


def bounded(silence: float) -> type[BoundedConnection]:
    """Returns the protocol class with a limit of `silence` seconds; uvicorn creates the instances itself."""
    return type("BoundedConnection", (BoundedConnection,), {"silence": silence})
