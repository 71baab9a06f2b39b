"""Runs the API under uvicorn: `python -m app.server --host 127.0.0.1 --port 8000`, or `--socket PATH` for a unix socket, or `--fd N` for
a socket that is listening already.

On the first signal to stop, waiting requests answer with the current state and streams tell their clients to reconnect; without this
uvicorn would wait for every one of them.
"""

import argparse
import logging
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.collector import still

with still(keep=__name__ == "__main__"):
    from app.auth.keyless import secured
    from app.embedded.accepting import Acceptor, Tally
    from app.embedded.latch import wait
    from app.http.connections import BoundedConnection, bounded
    from app.jobs.waiting import Wakeups
    from app.main import create_app
    from app.observability import configure_logging
    from app.settings import Settings, read_settings
    from app.storage.checking import opened as opened_storage
    from binnacle.errors import BinnacleError

STOP_SECONDS = 10


class Server(uvicorn.Server):
    """A uvicorn server that tells the application immediately when it is about to stop."""

    def __init__(self, config: uvicorn.Config, api: FastAPI, tally: Tally | None = None) -> None:
        super().__init__(config)
        self._api, self._tally = api, tally

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the application, then accepts connections; with a tally, this process's part of those of a shared socket."""
        if self._tally is None or sockets is None:
            await super().startup(sockets)
        else:
            await super().startup([])
            self.servers = [Acceptor(listening, self._connection, self._tally) for listening in sockets]  # type: ignore[misc]

    def _connection(self) -> BoundedConnection:
        protocol: type[BoundedConnection] = self.config.http_protocol_class  # type: ignore[assignment]
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def on_tick(self, counter: int) -> bool:
        """Counts the open connections; uvicorn calls this ten times a second."""
        if self._tally is not None and not self.should_exit:
            self._tally.own = len(self.server_state.connections)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handles a signal; uvicorn calls this in the event loop's thread."""
        context = getattr(self._api.state, "context", None)
        if context is not None:
            context.part(Wakeups).release()
        super().handle_exit(sig, frame)


def make_server(settings: Settings, host: str | None, port: int = 0, tally: Tally | None = None) -> Server:
    """Returns a server ready to `run()`; host None means a unix socket. `tally`: of the processes that share the socket.

    Raises ValueError for a server without keys that others could reach.
    """
    api = create_app(secured(settings, host))
    config = uvicorn.Config(
        api,
        host=host or "localhost",
        port=port,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_keep_alive=75,
        http=bounded(settings.limit.silent_seconds),
    )
    logging.getLogger("uvicorn.access").disabled = True  # uvicorn's log would show queries; the gate's log line does not
    return Server(config, api, tally)


def private_socket(path: Path) -> socket.socket:
    """Returns a listening unix socket that only this account can open. Raises OSError when another server listens on it."""
    opened = socket.socket(socket.AF_UNIX)
    if path.is_socket():
        try:
            opened.connect(str(path))
        except ConnectionRefusedError:  # left behind by an earlier server
            path.unlink()
        else:
            opened.close()
            raise FileExistsError(f"another server listens on {path}: stop it, or choose another socket")
    before = os.umask(0o177)
    try:
        opened.bind(str(path))
    finally:
        os.umask(before)
    opened.listen(1024)
    return opened


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m app.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--socket", type=Path, help="a unix socket to create, instead of host and port; only this account can open it"
    )
    other.add_argument("--fd", type=int, help="a listening socket inherited from the parent, instead of host and port")
    parser.add_argument("--after", type=int, help="an inherited pipe; serve once it is closed at its other end")
    parser.add_argument(
        "--tally",
        type=int,
        nargs=2,
        metavar=("FILE", "PLACE"),
        help="the inherited file in which the processes that share the socket count their connections, and the place of this process in it",
    )
    chosen = parser.parse_args()
    configure_logging()
    with ExitStack() as opened:
        host, sockets = chosen.host, None
        if chosen.socket is not None or chosen.fd is not None:
            try:
                bound_socket = private_socket(chosen.socket) if chosen.socket else socket.socket(fileno=chosen.fd)
            except OSError as fault:
                parser.error(f"the socket cannot be opened: {fault}")
            listening = opened.enter_context(bound_socket)
            host, sockets = (None if listening.family == socket.AF_UNIX else listening.getsockname()[0]), [listening]
        try:
            given = read_settings()
            opened_storage(given.storage_url.get_secret_value())
            settings = secured(given, host)
        except BinnacleError as fault:
            parser.error(fault.detail)
        except ValueError as unsafe:
            parser.error(str(unsafe))
        if settings is not given:
            secret = settings.local_secret.get_secret_value()
            sys.stderr.write(f"Keys are off. Each request must show the secret of this start: BINNACLE_KEY={secret}\n")
        with still(keep=True):
            tally = None if chosen.tally is None else Tally(*chosen.tally)
            server = make_server(settings, host, chosen.port, tally)
        if chosen.after is not None:
            wait(chosen.after)
        server.run(sockets=sockets)


if __name__ == "__main__":
    main()
