"""Runs the API under uvicorn: `python -m app.server --host 127.0.0.1 --port 8000`, or `--fd N` for a socket that is listening already.

On the first signal to stop, waiting requests answer with what there is and streams tell their clients to reconnect; without this
uvicorn would wait for every one of them.
"""

import argparse
import ipaddress
import logging
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.connections import bounded
from app.main import create_app
from app.observability import configure_logging
from app.settings import Settings

STOP_SECONDS = 10


class Server(uvicorn.Server):
    """uvicorn, telling the application at once that it is about to stop."""

    def __init__(self, config: uvicorn.Config, api: FastAPI) -> None:
        super().__init__(config)
        self._api = api

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came; uvicorn calls this in the event loop's thread."""
        context = getattr(self._api.state, "context", None)
        if context is not None:
            context.wakeups.release()
        super().handle_exit(sig, frame)


def is_loopback(host: str) -> bool:
    """Whether everything that `host` resolves to is this machine itself."""
    addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def make_server(settings: Settings, host: str, port: int) -> Server:
    """A server ready to `run()`. Raises ValueError for a server without keys that others could reach."""
    if settings.auth == "off" and not is_loopback(host):
        raise ValueError(f"BINNACLE_AUTH=off needs a loopback address, and {host} is none: bind 127.0.0.1 or switch keys on")
    api = create_app(settings)
    config = uvicorn.Config(
        api,
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_keep_alive=75,
        http=bounded(settings.limit.silent_seconds),
    )
    logging.getLogger(
        "uvicorn.access"
    ).disabled = True  # it would print addresses with their queries; the gate's own line has neither
    return Server(config, api)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m app.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fd", type=int, help="a listening socket that the parent made, instead of host and port")
    chosen = parser.parse_args()
    configure_logging()
    if chosen.fd is None:
        make_server(Settings(), chosen.host, chosen.port).run()
        return
    with socket.socket(fileno=chosen.fd) as listening:
        host, port = listening.getsockname()[:2]
        make_server(Settings(), host, port).run(sockets=[listening])


if __name__ == "__main__":
    main()
