"""Fixtures: the client against the real application, either directly or through a relay that can fail."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from binnacle import Client
from tests.api.conftest import Running, api, engine, sessions, settings, standing
from tests.client.wire import Wire

__all__ = ["api", "engine", "sessions", "settings", "standing"]


@pytest.fixture(autouse=True)
def _no_service_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BINNACLE_URL", "BINNACLE_KEY", "BINNACLE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def key(api: Running) -> str:
    """The key of ada, a member."""
    return api.key("ada")


@pytest.fixture
def client(api: Running, key: str) -> Iterator[Client]:
    """Ada's client, connected to the application directly."""
    with Client(api.url, key, patience=10) as client:
        yield client


@pytest.fixture
def wire(api: Running) -> Iterator[Wire]:
    """A relay to the application that can be told to fail."""
    wire = Wire(api.url)
    yield wire
    wire.close()


@pytest.fixture
def far(wire: Wire, key: str) -> Iterator[Client]:
    """Ada's client, connected through `wire`."""
    with Client(wire.url, key, patience=10) as client:
        yield client


@pytest.fixture
def meanwhile() -> Iterator[Callable[..., None]]:
    """`meanwhile(f, g, ...)` runs the steps in another thread, 0.1 s apart; the test fails at its end if a step raised."""
    threads: list[threading.Thread] = []
    failures: list[BaseException] = []

    def start(*steps: Callable[[], object]) -> None:
        def run() -> None:
            try:
                for step in steps:
                    time.sleep(0.1)
                    step()
            except BaseException as failure:
                failures.append(failure)

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(120)
    assert failures == []
