"""Opens the embedded database and broker to workers on other hosts, and writes the file with their addresses.

Both require passwords, but traffic is not encrypted, so the address must be in a private network or a VPN.
"""

import ipaddress
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.embedded.errors import EmbeddedError
from app.embedded.home import Home
from app.embedded.private import write_private


@dataclass(frozen=True)
class Sharing:
    """An address of this machine that other hosts reach, and the two servers' ports there."""

    address: str
    database_port: int = 5432
    broker_port: int = 6379

    def __post_init__(self) -> None:
        """Raises EmbeddedError for an invalid address, or the address of all interfaces, which other hosts cannot use."""
        try:
            known = ipaddress.ip_address(self.address)
        except ValueError:
            known = None
        if known is None or known.is_unspecified:
            raise EmbeddedError(
                "bad_worker_address",
                f"{self.address!r} is not an address at which other hosts reach this machine. `ip -brief address` "
                "lists this machine's addresses.",
            )

    @property
    def database(self) -> tuple[str, int]:
        """Returns the host and port at which Postgres listens for other hosts."""
        return self.address, self.database_port

    @property
    def broker(self) -> tuple[str, int]:
        """Returns the host and port at which the broker listens for other hosts."""
        return self.address, self.broker_port

    def publish(self, home: Home, database_url: str, broker_url: str, storage_url: str) -> Path:
        """Writes the environment of `binnacle worker` on another host to worker.env (0600) in the data folder, and returns its path."""
        where = f"[{self.address}]" if ":" in self.address else self.address
        lines = {
            "DATABASE_URL": _over_tcp(database_url, f"{where}:{self.database_port}"),
            "BROKER_URL": _over_tcp(broker_url, f"{where}:{self.broker_port}"),
            "STORAGE_URL": storage_url,
        }
        write_private(home.worker_file, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in lines.items()))
        return home.worker_file


def _over_tcp(url: str, address: str) -> str:
    """Returns the URL of an embedded server with its socket replaced by `address`; a URL with a host stays unchanged."""
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        return f"redis://:{unquote(parts.password or '')}@{address}/0"
    if parts.scheme.startswith("postgresql") and parts.hostname is None:
        return f"{parts.scheme}://{parts.username}:{parts.password}@{address}{parts.path}"
    return url
