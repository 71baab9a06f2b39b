"""When the broker or the database is flushed, stopped or restarted, no job is lost or charged a loss, and cancelling still works."""

import time
from collections.abc import Callable

import pytest

from app.embedded.broker import Broker, connect
from app.embedded.postgres import Postgres
from tests.chaos.conftest import Ended
from tests.worker.conftest import Service

pytestmark = pytest.mark.chaos


@pytest.fixture
def brittle(make_service: Callable[..., Service], own_postgres: Postgres, own_broker: Broker) -> Service:
    """A service whose servers belong to the test."""
    return make_service(own_postgres.url, own_broker.url, "b:")


def test_flushing_the_broker_loses_no_job(brittle: Service, own_broker: Broker) -> None:
    running = brittle.submit(steps=5, seconds=0.3)
    brittle.node()
    brittle.running(running)
    waiting = [brittle.submit("bob") for _ in range(5)]
    with connect(own_broker.url) as client:
        client.flushall()
    for job_id in [running, *waiting]:
        Ended.well(brittle, job_id)
        assert brittle.job(job_id).losses == 0


def test_a_broker_restart_does_not_disturb_a_running_job(brittle: Service, own_broker: Broker) -> None:
    brittle.node()
    running = brittle.submit(steps=8, seconds=0.4)
    brittle.running(running, cells=1)
    own_broker.kill()
    waiting = brittle.submit()  # no worker is notified
    brittle.until(lambda: brittle.event_types(running).count("cell") > 2, "the job to continue without the broker")
    own_broker.start()
    Ended.well(brittle, running)
    Ended.well(brittle, waiting)
    assert brittle.job(running).attempt == 1


def test_cancelling_needs_no_broker(brittle: Service, own_broker: Broker) -> None:
    brittle.node()
    polite = brittle.submit(steps=100, seconds=0.2)
    brittle.running(polite)
    own_broker.stop()
    brittle.cancel(polite)
    assert brittle.ended(polite).state == "cancelled"
    own_broker.start()
    deaf = brittle.submit(do="deaf")
    brittle.acting(deaf)
    own_broker.stop()
    brittle.cancel(deaf)
    assert brittle.ended(deaf).state == "cancelled"
    own_broker.start()
    Ended.well(brittle, brittle.submit())


def test_a_short_database_restart_costs_a_running_job_nothing(brittle: Service, own_postgres: Postgres) -> None:
    brittle.node()
    job_id = brittle.submit(steps=10, seconds=0.4)
    brittle.running(job_id, cells=1)
    own_postgres.stop()
    own_postgres.start()
    Ended.well(brittle, job_id)
    assert brittle.job(job_id).losses == 0


def test_a_database_outage_of_two_leases_is_charged_to_no_job(brittle: Service, own_postgres: Postgres) -> None:
    """Two leases without a database: two minutes at the default lease of sixty seconds, to scale."""
    node = brittle.node()
    job_id = brittle.submit(steps=30, seconds=0.4)
    child = brittle.running(job_id, cells=1).child_pid
    own_postgres.kill()
    time.sleep(2 * brittle.settings.lease.ttl)  # the length of the outage is what is tested
    own_postgres.start()
    Ended.well(brittle, job_id)
    job = brittle.job(job_id)
    assert job.losses == 0
    assert not [event for event in brittle.events(job_id) if event.type == "lost"], (child, node.log.read_text()[-3000:])
