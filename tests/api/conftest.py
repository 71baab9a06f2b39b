"""The real application under a real uvicorn on loopback, over a migrated Postgres. No workers: tests move jobs themselves.

`api` is one application that all tests of a process share; its stores are put back before each test. A test that is marked
`own_application`, or uses a fixture of OWN_STORES, gets an application and stores of its own.
"""

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from app.db import make_engine, make_sessions
from app.embedded.broker import Broker
from app.embedded.postgres import Postgres
from app.settings import Settings
from tests.api.running import FACTS, PEPPER, VERIFY, Running
from tests.api.standing import Standing, settings_at
from tests.services import make_quick_folder
from tests.written_specs import check_written

__all__ = ["FACTS", "PEPPER", "VERIFY", "Running"]

OWN_STORES = frozenset({"database_url", "broker_url", "broker_prefix", "own_postgres", "own_broker"})
"""Fixtures that give a test its own stores."""


@pytest.fixture(scope="session")
def standing(postgres_url_factory: Callable[[], str], broker: Broker) -> Iterator[Callable[[], Standing]]:
    """Returns the application that the tests of this process share; starts a new one if `Standing.ready_again` has closed the last."""
    folder = make_quick_folder()
    made: list[Standing] = []

    def give() -> Standing:
        if not made or made[-1].closed:
            place = folder / str(len(made))
            place.mkdir()
            made.append(Standing(settings_at(postgres_url_factory(), broker.url, f"standing-{folder.name}-{len(made)}:", place)))
        return made[-1]

    yield give
    for one in made:
        one.close()
    shutil.rmtree(folder)


def shares(request: pytest.FixtureRequest) -> bool:
    """Whether the test uses the shared application: it is not marked `own_application` and has no fixture of OWN_STORES."""
    names = set(request.fixturenames)
    return "api" in names and not OWN_STORES & names and request.node.get_closest_marker("own_application") is None


@pytest.fixture
def settings(request: pytest.FixtureRequest, postgres: Postgres, broker: Broker, tmp_path: Path) -> Settings:
    """Settings of the application under test."""
    if shares(request):
        shared: Standing = request.getfixturevalue("standing")()
        return shared.settings
    urls = [request.getfixturevalue(name) for name in ("database_url", "broker_url", "broker_prefix")]
    return settings_at(*urls, tmp_path)


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which nothing listens. It is kept until the test ends: only a server that the test starts there may listen on it
    (servers set SO_REUSEADDR), and connections from elsewhere do not take it for their own end.
    """
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield int(kept.getsockname()[1])


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """An engine of the test's own on the application's database."""
    engine = make_engine(settings.database_url.get_secret_value())
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    """Transactions of the test's own."""
    return make_sessions(engine)


@pytest.fixture
def api(request: pytest.FixtureRequest, settings: Settings, sessions: sessionmaker[Session]) -> Iterator[Running]:
    """The application, serving, with one usable model `demo`."""
    if shares(request):
        shared: Standing = request.getfixturevalue("standing")()
        yield shared.running
        shared.ready_again()
        return
    running = Running(settings, sessions)
    try:
        running.start()
        running.add_model()
        yield running
    finally:  # its thread keeps the process from ending
        running.stop()


@pytest.fixture
def specs_as_written(api: Running) -> Iterator[None]:
    """After the test, every spec that the service wrote is one of `terms.specs`."""
    yield
    check_written(api.sessions)


@pytest.fixture
def ada(api: Running) -> Iterator[httpx2.Client]:
    """A member."""
    with api.client("ada") as client:
        yield client


@pytest.fixture
def admin(api: Running) -> Iterator[httpx2.Client]:
    """An administrator."""
    with api.client("root", "admin") as client:
        yield client


def submit(client: httpx2.Client, **body: Any) -> dict[str, Any]:
    """Submits a calibration of `demo`; returns its job."""
    response = client.post("/v1/calibrations", json={"model": "demo", **body})
    assert response.status_code == 202, response.text
    return dict(response.json())
