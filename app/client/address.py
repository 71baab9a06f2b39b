"""Where the service is and the key to it: what the caller says, then the environment, then what `binnacle up` wrote down."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from app.client.errors import NoService

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Address:
    """A service and the key to it."""

    url: str
    key: str | None = field(repr=False)

    @property
    def is_loopback(self) -> bool:
        return urlsplit(self.url).hostname in LOOPBACK


def home_folder() -> Path:
    """The data folder of the embedded service: `BINNACLE_HOME`, or `~/.binnacle`."""
    return Path(os.environ.get("BINNACLE_HOME") or "~/.binnacle").expanduser()


def find_address(url: str | None = None, key: str | None = None, home: Path | None = None) -> Address:
    """The address from the arguments, `BINNACLE_URL` and `BINNACLE_KEY`, or `run.json` and `admin.key` in the data folder.

    The key in the data folder belongs to the service of that folder and is sent to no other.
    """
    folder = home or home_folder()
    local_url = _local_url(folder)
    named = url or os.environ.get("BINNACLE_URL") or local_url
    if not named:
        raise NoService(
            "no_service",
            f"No service is running from {folder}. Start one with `binnacle up`, or name one with BINNACLE_URL and BINNACLE_KEY.",
        )
    named = named.rstrip("/")
    if urlsplit(named).scheme not in {"http", "https"} or not urlsplit(named).hostname:
        raise NoService("bad_url", f"{named!r} is no address of a service. Write it as http://host:port.")
    found = key or os.environ.get("BINNACLE_KEY")
    if found is None and local_url is not None and named == local_url.rstrip("/"):
        found = _local_key(folder)
    return Address(named, found)


def _local_url(folder: Path) -> str | None:
    try:
        url = json.loads((folder / "run.json").read_text())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(url)


def _local_key(folder: Path) -> str | None:
    try:
        return (folder / "admin.key").read_text().strip() or None
    except OSError:
        return None
