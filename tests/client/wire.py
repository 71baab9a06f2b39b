"""A TCP relay between client and service that can refuse, lose an answer, break off in the middle or change bytes."""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

Fault = Callable[[bytes], tuple[bytes, bool]]
"""Takes the next bytes from the service; returns the bytes for the client, and whether the connection stays open."""


def lost_answer() -> Fault:
    """The service gets the request, but the connection closes before the first byte of the answer."""
    return lambda chunk: (b"", False)


def cut_after(count: int) -> Fault:
    """The connection closes after `count` bytes of the answer, headers included."""
    passed = 0

    def cut(chunk: bytes) -> tuple[bytes, bool]:
        nonlocal passed
        part = chunk[: count - passed]
        passed += len(part)
        return part, passed < count

    return cut


def flipped_bytes() -> Fault:
    """Changes the last byte of every chunk of the body, which no checksum of TCP would notice."""
    return lambda chunk: (chunk if chunk.endswith(b"\r\n\r\n") else chunk[:-1] + bytes([chunk[-1] ^ 1]), True)


@dataclass
class Passed:
    """One connection, with all bytes that the client sent."""

    said: bytes = b""


class Wire:
    """A TCP relay at `url`. Each new connection takes the first of `faults`, if any is left; without an `upstream` it is closed."""

    def __init__(self, url: str) -> None:
        self.upstream: str | None = url
        self.faults: list[Fault] = []
        self.connections: list[Passed] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.1)
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def cut(self) -> None:
        """Breaks every open connection."""
        for end in self._open:
            _close(end)
        self._open.clear()

    def close(self) -> None:
        self._closing.set()
        self._accepting.join()
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listening.accept()
            except TimeoutError:
                continue
            upstream = self.upstream
            if upstream is None:
                _close(client)
                continue
            where = urlsplit(upstream)
            service = socket.create_connection((where.hostname, where.port))
            self._open += [client, service]
            passed = Passed()
            self.connections.append(passed)
            fault = self.faults.pop(0) if self.faults else None
            for relay, ends in ((_up, (client, service, passed)), (_down, (service, client, fault))):
                thread = threading.Thread(target=relay, args=ends)
                thread.start()
                self._threads.append(thread)


def _up(client: socket.socket, service: socket.socket, passed: Passed) -> None:
    while chunk := _read(client):
        passed.said += chunk
        if not _write(service, chunk):
            break
    _close(service)


def _down(service: socket.socket, client: socket.socket, fault: Fault | None) -> None:
    goes_on = True
    while goes_on and (chunk := _read(service)):
        if fault:
            chunk, goes_on = fault(chunk)
        if not _write(client, chunk):
            break
    _close(client)
    _close(service)


def _read(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _write(end: socket.socket, data: bytes) -> bool:
    try:
        end.sendall(data)
    except OSError:
        return False
    return True


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
