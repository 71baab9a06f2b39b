"""`binnacle.Client`: the service from Python. Its methods are in `binnacle.parts`; their results are typed in `binnacle.results`."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from binnacle.address import find_address
from binnacle.connection import Connection
from binnacle.parts.administration import Administration
from binnacle.parts.making import Making
from binnacle.parts.results import Results
from binnacle.parts.service import Service
from binnacle.parts.traits import Traits


class Client(Making, Results, Traits, Service):
    """A connection to one service; a context manager, though a notebook may leave it open.

    >>> with binnacle.Client(client.url, key) as mine:
    ...     mine.me()["role"]
    'admin'
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        home: str | Path | None = None,
        patience: float = 60,
        first_answer: float | None = None,
        on_outage: Callable[[str], None] | None = None,
    ) -> None:
        """Connects to `url` with `key`; else by `BINNACLE_URL`, `BINNACLE_KEY`; else to `binnacle up` in `home` (`BINNACLE_HOME`).

        patience: seconds for which a service that is away or restarting is asked again. first_answer: seconds within which it must be reached
        for the first time; None: as for every other request. on_outage: called with a sentence when a service that answered before is waited
        for. Raises NoService when no service is named.
        """
        address = find_address(url, key, Path(home) if home else None)
        self._connection = Connection(address, patience=patience, first=first_answer, on_outage=on_outage)
        self.admin = Administration(self._connection)

    @property
    def url(self) -> str:
        """Returns the address of the service."""
        return self._connection.address.url

    def close(self) -> None:
        """Closes the connection.

        >>> binnacle.Client(client.url, key).close()
        """
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
