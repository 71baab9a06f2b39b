"""Ports for servers that a test starts later.

They lie below those that Linux gives by itself, to a connection or to a server that asks for any port: none of these takes the port meanwhile.
"""

import secrets
import socket
from contextlib import ExitStack

LOWEST, FIRST_OF_LINUX = 20_000, 32_768


def unused_ports(count: int) -> list[int]:
    """So many ports of 127.0.0.1, in a row, on which nothing listened a moment ago."""
    while True:
        first = LOWEST + secrets.randbelow(FIRST_OF_LINUX - LOWEST - count)
        ports = list(range(first, first + count))
        try:
            with ExitStack() as opened:
                for port in ports:
                    opened.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except OSError:  # another server has one of them
            continue
        return ports
