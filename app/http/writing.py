"""Sends the head of an answer together with the beginning of its body: one message to the kernel and one packet, where uvicorn sends two."""

import asyncio
from typing import Any

HEAD = b"HTTP/1."
"""How the head of an answer begins."""


class JoinedWrites:
    """A transport that holds an answer's head until its body follows, at most to the end of the event loop's present round.

    Everything else is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._flushing: asyncio.Handle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Writes the data after a head that was held; holds the data if it is the head of an answer."""
        if self._flushing is not None:
            data = self._taken() + data
        elif data.startswith(HEAD):
            self._head = data
            self._flushing = self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Closes the connection once all data are sent."""
        if self._flushing is not None:
            self._flush()
        self._transport.close()

    def _flush(self) -> None:
        self._transport.write(self._taken())

    def _taken(self) -> bytes:
        assert self._flushing is not None
        self._flushing.cancel()
        head, self._head, self._flushing = self._head, b"", None
        return head
