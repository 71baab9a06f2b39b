"""Bells keep one connection to the broker, and those of one moment for one class are rung once."""

from collections.abc import Iterator

import pytest

from app.bell import Bell
from app.embedded.broker import Broker, connect
from app.settings import Settings


@pytest.fixture
def bell(own_broker: Broker) -> Iterator[Bell]:
    """A bell that has rung once, so that its connection is open."""
    made = Bell(Settings.model_validate({"broker_url": own_broker.url, "broker_prefix": "t:"}))
    assert made.ring("model")
    yield made
    made.close()


def test_a_bell_keeps_its_connection(bell: Bell, own_broker: Broker) -> None:
    with connect(own_broker.url) as client:
        before = client.info()["total_connections_received"]
        for pending in range(2, 22):
            assert bell.ring("model", pending)
        assert client.llen("t:model") == 21
        assert client.info()["total_connections_received"] == before


def test_bells_of_one_moment_are_rung_once(bell: Bell, own_broker: Broker) -> None:
    with connect(own_broker.url) as client:
        before = client.info("commandstats")["cmdstat_llen"]["calls"]
        with bell._lock:  # the first bell waits for it meanwhile
            for _ in range(50):
                bell.ring_soon("model")
        bell._thread.submit(int).result(30)
        assert client.info("commandstats")["cmdstat_llen"]["calls"] - before <= 2
