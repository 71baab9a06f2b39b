"""Many health checks at once cost one look at the stores; a full broker is reported as degraded and a hanging storage keeps one thread."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.cli.checkup import stores
from app.embedded.broker import Broker, connect
from app.migrate import head_revision, knows
from app.settings import Settings
from tests.api.conftest import Running
from tests.api.test_webhooks import wait_until


def test_two_hundred_probes_within_a_second_look_once(api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    check = api.context.storage.check

    def counted() -> None:
        looks.append(time.monotonic())
        check()

    monkeypatch.setattr(type(api.context.storage), "check", lambda _self: counted())
    httpx2.get(f"{api.url}/readyz", timeout=120)
    looks.clear()
    began = time.monotonic()
    with httpx2.Client(base_url=api.url, timeout=120) as client, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _i: client.get("/readyz").status_code, range(200)))
    took = time.monotonic() - began
    assert answers == [200] * 200
    assert len(looks) <= took + 1, "one look a second at most"  # at least one is what the next test shows


def test_after_a_second_it_looks_again(api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert httpx2.get(f"{api.url}/readyz", timeout=120).status_code == 200

    def broken(_self: object) -> None:
        raise OSError

    monkeypatch.setattr(type(api.context.storage), "check", broken)
    time.sleep(1.1)  # the subject: an answer is shared for one second
    assert httpx2.get(f"{api.url}/readyz", timeout=120).status_code == 503


def test_a_storage_that_hangs_keeps_one_thread_however_often_it_is_probed(api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thread that it kept would be one less for uploads and pages."""
    answered, looks = threading.Event(), []

    def hanging(_self: object) -> None:
        looks.append(threading.current_thread().name)
        answered.wait(30)

    monkeypatch.setattr("app.status.health.PATIENCE", 0.5)  # enough for the other checks
    monkeypatch.setattr("app.status.probes.LASTS", 0.0)
    monkeypatch.setattr(type(api.context.storage), "check", hanging)
    time.sleep(1.1)  # an answer is shared for one second
    try:
        for _ in range(4):
            answer = httpx2.get(f"{api.url}/readyz", timeout=120)
            assert (answer.status_code, answer.json()["checks"]["storage"]) == (503, {"ok": False, "detail": "TimeoutError"})
        assert len(looks) == 1
        assert "asyncio" not in looks[0], "no thread of the default executor"
    finally:
        answered.set()
    wait_until(lambda: httpx2.get(f"{api.url}/readyz", timeout=120).status_code == 200)


def test_whether_a_revision_is_known_is_read_from_the_disk_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a newer version has migrated the database, each check of the older servers asks."""
    assert knows(head_revision())
    monkeypatch.setattr("app.migrate.ScriptDirectory", None)
    assert knows("0001")
    assert not knows("9999")


@pytest.fixture
def full(settings: Settings, own_broker: Broker, sessions: sessionmaker[Session]) -> Iterator[Running]:
    """An API before a broker that is at its maxmemory."""
    with connect(own_broker.url) as client:
        client.config_set("maxmemory", "1")
    running = Running(settings.model_copy(update={"broker_url": type(settings.broker_url)(own_broker.url)}), sessions)
    running.start()
    yield running
    running.stop()


def test_a_full_broker_is_degraded_and_says_what_to_do(full: Running) -> None:
    answer = httpx2.get(f"{full.url}/readyz", timeout=120)
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "maxmemory" in answer.json()["checks"]["broker"]["detail"]
    with full.client() as ada:
        assert ada.get("/v1/status").json()["broker"]["ok"] is False


def test_the_doctor_finds_a_full_broker_at_fault(own_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL", own_broker.url)
    [well] = stores.broker(tmp_path)
    assert well.level == "ok"
    with connect(own_broker.url) as client:
        client.config_set("maxmemory", "1")
    [full] = stores.broker(tmp_path)
    assert (full.level, "Raise maxmemory" in full.detail) == ("fault", True)
