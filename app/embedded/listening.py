"""Opens the API's listening socket, names its address, and asks whether the API is ready.

The supervisor holds the socket, so that it stays open while the API restarts.
"""

import http.client
import socket

from app.embedded.errors import EmbeddedError


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening TCP socket; port 0 takes a free port. Raises EmbeddedError when the address is in use or not on this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError) as unknown:
        why = unknown.strerror if isinstance(unknown, OSError) else "not a valid name"
        raise EmbeddedError("bad_host", f"{host!r} is not an address of this machine ({why}). Try --host 127.0.0.1.") from unknown
    try:
        return _opened(family, kind, protocol, address)
    except OSError as taken:
        raise EmbeddedError(
            "cannot_listen",
            f"cannot listen on {host} port {port}: {taken.strerror}. Choose another with --port, or --port 0 for a free one.",
        ) from taken


def _opened(family: int, kind: int, protocol: int, address: tuple[str | int | bytes, ...]) -> socket.socket:
    """Returns a socket that listens there. Raises OSError."""
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # inherited by every connection: answers are sent without delay
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.bind(address)
        opened.listen(1024)  # of two that bound one port at the same moment, the second fails here
    except OSError:
        opened.close()
        raise
    return opened


def local_address(listening: socket.socket) -> tuple[str, int]:
    """Returns host and port at which local programs reach the socket: loopback if it listens on every address."""
    host, port = listening.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def url_of(host: str, port: int) -> str:
    """Returns `http://host:port`, with brackets around an IPv6 address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def answers_ready(host: str, port: int) -> bool:
    """Returns whether `/readyz` answers 200 within two seconds."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
