"""Counts what a process sends to Postgres: its statements from within, or its messages with a proxy between the two."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import Engine, event


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that this process sends within the block."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


class Proxy:
    """A proxy before the database that counts the client's turns (all that it sends before the server answers) and its commits."""

    def __init__(self, database_url: str) -> None:
        self._url = urlsplit(database_url.replace("+psycopg", ""))
        self._socket = f"{parse_qs(self._url.query)['host'][0]}/.s.PGSQL.5432"
        self.turns = 0
        self.commits = 0

    def start(self) -> str:
        """Serves from a thread of its own until the program ends; returns the database's URL through the proxy."""
        loop = asyncio.new_event_loop()
        Thread(target=loop.run_forever, daemon=True).start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._one, "127.0.0.1", 0), loop).result()
        at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return f"postgresql+psycopg://{self._url.username}:{self._url.password}@{at}{self._url.path}?sslmode=disable"

    async def _one(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        clients_turn = True

        async def upstream() -> None:
            nonlocal clients_turn
            with closing(to_server):
                while data := await from_client.read(1 << 16):
                    self.turns += clients_turn
                    self.commits += data[5:] == b"COMMIT\0"
                    clients_turn = False
                    to_server.write(data)

        async def downstream() -> None:
            nonlocal clients_turn
            with closing(to_client):  # also where the server has reset the connection
                while data := await from_server.read(1 << 16):
                    clients_turn = True
                    to_client.write(data)

        await asyncio.gather(upstream(), downstream(), return_exceptions=True)
