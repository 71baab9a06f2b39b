"""The counting proxy closes both sides of a connection however it ends; a socket that is left open fails whichever test runs when it is
collected."""

import gc
import shutil
import socket
from urllib.parse import urlsplit

from tests.counting import Proxy
from tests.services import make_folder


def test_a_connection_that_the_server_resets_is_closed_on_both_sides() -> None:
    folder = make_folder()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/.s.PGSQL.5432")
        server.listen()
        address = urlsplit(Proxy(f"postgresql+psycopg://u:p@/db?host={folder}").start())
        with socket.create_connection((address.hostname, address.port), timeout=60) as client:
            client.sendall(b"unread")
            accepted, _ = server.accept()
            with accepted:
                accepted.recv(6, socket.MSG_PEEK)  # it has arrived, and stays unread: so the close is a reset
            assert client.recv(1) == b"", "the client is told"
    gc.collect()  # an open socket among the garbage would be reported by pytest
    shutil.rmtree(folder)
