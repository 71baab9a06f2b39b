"""One API process for all tests of this folder: each must leave it serving, without an unexpected error in its log."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from app.embedded.broker import Broker
from app.models.models import Model
from app.settings import Settings
from tests.api.conftest import FACTS, PEPPER, VERIFY
from tests.api.process import ApiProcess

MB = 1 << 20
SLOWEST = 20.0
"""Seconds within which an ordinary request is answered whatever else the server is sent, on a machine that is busy with other tests."""


@pytest.fixture(scope="session")
def service(
    postgres_url_factory: Callable[[], str], broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiProcess]:
    """The API with the model `demo`, ready, and `new`, which has no facts yet."""
    home = tmp_path_factory.mktemp("hostile")
    settings = Settings(
        database_url=postgres_url_factory(),
        broker_url=broker.url,
        storage_url=f"file://{home}/objects",
        broker_prefix="hostile:",
        key_pepper=PEPPER,
        home=home,
    )
    (home / "secret.txt").write_text(SECRET)
    with ApiProcess(settings, home) as process:
        with process.sessions.begin() as session:
            session.add(Model(name="demo", source="/models/demo", state="ready", facts=FACTS, created_by="admin"))
            session.add(Model(name="new", source="/models/new", state="inspecting", facts={}, created_by="admin"))
        yield process


SECRET = "the canary sings"


@pytest.fixture
def api(service: ApiProcess) -> Iterator[ApiProcess]:
    """The same process; after the test it must serve and have logged no unexpected error."""
    before = len(service.complaints())
    yield service
    assert service.complaints()[before:] == []
    assert httpx2.get(f"{service.url}/readyz", timeout=120, verify=VERIFY).status_code == 200


@pytest.fixture
def ada(api: ApiProcess) -> Iterator[httpx2.Client]:
    """A member."""
    with api.client("ada") as client:
        yield client


@pytest.fixture
def admin(api: ApiProcess) -> Iterator[httpx2.Client]:
    """An administrator."""
    with api.client("root", "admin") as client:
        yield client


class Watch:
    """What another user saw meanwhile: seconds and statuses of ordinary requests; and the most memory that the server had."""

    def __init__(self, before: int) -> None:
        self.before = self.most = before
        self.seconds: list[float] = []
        self.statuses: set[int] = set()

    @property
    def grown(self) -> int:
        """Bytes above those at the start."""
        return self.most - self.before


@contextmanager
def watching(api: ApiProcess, within: float = SLOWEST) -> Iterator[Watch]:
    """While the block runs, asks for the list of jobs again and again, expects an answer `within` so many seconds, and measures memory."""
    watch = Watch(api.memory())
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            watch.most = max(watch.most, api.memory())

    def ask() -> None:
        with api.client("bob") as client:
            while True:
                asked = time.monotonic()
                watch.statuses.add(client.get("/v1/jobs").status_code)
                watch.seconds.append(time.monotonic() - asked)
                if done.wait(0.1):
                    return

    threads = [threading.Thread(target=one) for one in (look, ask)]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        done.set()
        for thread in threads:
            thread.join(120)
    assert watch.statuses == {200}
    assert max(watch.seconds) < within


def refused(response: httpx2.Response, *statuses: int) -> dict[str, Any]:
    """The problem document; fails unless it has one of these statuses (any 4xx if none is given) and keeps the server's secret."""
    assert 400 <= response.status_code < 500, (response.status_code, response.text[:500])
    assert not statuses or response.status_code in statuses, (response.status_code, response.text[:500])
    assert response.headers["Content-Type"] == "application/problem+json", response.text[:500]
    assert SECRET not in response.text
    found: dict[str, Any] = response.json()
    assert found["code"]
    assert found["detail"]
    return found
