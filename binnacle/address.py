"""Finds the service and its key: from the arguments, then the environment, then the files written by `up` or `prepare`."""

import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from binnacle.errors import NoService

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Address:
    """The address of a service and its key.

    url: `http(s)://host[:port]`, with a path where a proxy serves it under one, or `unix:/path` of a socket.
    """

    url: str
    key: str | None = field(repr=False)

    @property
    def socket(self) -> str | None:
        """Returns the path of the service's unix socket, or None."""
        return urlsplit(self.url).path if self.url.startswith("unix:") else None

    @property
    def is_loopback(self) -> bool:
        """Returns whether the address names this machine."""
        return urlsplit(self.url).hostname in LOOPBACK


def home_folder() -> Path:
    """Returns the data folder of the embedded service: `BINNACLE_HOME`, or `~/.binnacle`."""
    return Path(os.environ.get("BINNACLE_HOME") or "~/.binnacle").expanduser()


def naming(home: Path) -> str:
    """Returns `BINNACLE_HOME=FOLDER `, with which a command in any terminal begins to find this data folder; empty for ~/.binnacle."""
    folder = home.expanduser().absolute()
    return "" if folder == Path("~/.binnacle").expanduser() else f"BINNACLE_HOME={shlex.quote(str(folder))} "


def find_address(url: str | None = None, key: str | None = None, home: Path | None = None) -> Address:
    """Returns the address from the arguments, `BINNACLE_URL` and `BINNACLE_KEY`, or the files in the data folder.

    In the data folder, `run.json` of a running `binnacle up` takes precedence over `url` of `binnacle prepare`, and `local.secret` of a
    service without keys over `admin.key`. The data folder's key is only sent to the data folder's own service.
    """
    folder = home or home_folder()
    local_url = _local_url(folder)
    named = url or os.environ.get("BINNACLE_URL") or local_url
    if not named:
        raise NoService(
            "no_service",
            f"No service is running from {folder}. To use a server, set BINNACLE_URL to its address and BINNACLE_KEY to your key; to run one "
            "on this machine, start `binnacle up`.",
        )
    named = named.strip().rstrip("/")
    named = named if named.startswith("unix:") else named.removesuffix("/v1")  # routes are written with it; the client adds it
    if not _is_address(named):
        raise NoService(
            "bad_url", f"{named!r} is not the address of a service. Write it as http://host:port, or unix:/path of a socket."
        )
    chosen_key = key or os.environ.get("BINNACLE_KEY") or None
    if chosen_key is None and local_url is not None and named == local_url.rstrip("/"):
        chosen_key = local_key(folder)
    return Address(named, chosen_key)


def _is_address(text: str) -> bool:
    """Returns whether the text has the form `http(s)://host[:port][/path]` or `unix:/path`."""
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
        host.encode("idna")
    except ValueError:  # a port above 65,535, an unmatched bracket, or invalid letters in the host
        return False
    if not text.isprintable():
        return False
    if parts.scheme == "unix":
        return parts.path.startswith("/")
    return parts.scheme in {"http", "https"} and bool(host) and not set(" ?#@") & set(text) and port != 0


def _local_url(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "run.json").read_text())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return _text(folder / "url")


def local_key(folder: Path) -> str | None:
    """Returns the key or secret for the service of this data folder."""
    return _text(folder / "local.secret") or _text(folder / "admin.key")


def _text(path: Path) -> str | None:
    """The file's text, or None where there is none. Raises NoService where it is not UTF-8."""
    try:
        return path.read_text("utf-8-sig").strip() or None
    except OSError:
        return None
    except UnicodeDecodeError:
        raise NoService("bad_file", f"{path} is not text in UTF-8. Save it as UTF-8, or remove it.") from None
