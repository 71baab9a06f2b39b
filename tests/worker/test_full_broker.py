"""A broker at its maxmemory refuses every bell and answers every ping: jobs start all the same, and the checks say what is wrong."""

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from redis.exceptions import OutOfMemoryError
from sqlalchemy import text

from app.bell import Bell
from app.embedded.broker import Broker, connect
from app.jobs import service as jobs
from app.settings import Settings
from tests.worker.conftest import Service


@pytest.fixture
def served(make_service: Callable[..., Service], database_url: str, own_broker: Broker) -> Iterator[Service]:
    """A service with one node; its reconciler sweeps so seldom that only the node itself can find jobs."""
    service = make_service(database_url, own_broker.url, "full:", sweep=120)
    service.node(BINNACLE_LEASE_LOOK="1")
    return service


def _fill(broker: Broker) -> None:
    with connect(broker.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            client.set("full:x", "1")


def test_jobs_start_within_seconds_though_every_bell_is_refused(served: Service, own_broker: Broker) -> None:
    assert served.ended(served.submit()).state == "succeeded"
    _fill(own_broker)
    for _ in range(3):
        asked = time.monotonic()
        job = served.ended(served.submit(), 20)
        assert job.state == "succeeded"
        assert time.monotonic() - asked < 10


def test_a_bell_that_was_rung_before_the_broker_was_full_harms_no_node(served: Service, own_broker: Broker) -> None:
    """To take a bell writes nothing: a refused write would end the node that took it."""
    first = served.submit(steps=1, seconds=3)
    served.running(first)
    waiting = [served.submit(), served.submit()]
    with connect(own_broker.url) as client:
        served.until(lambda: client.llen("full:light"), "a bell to wait for the busy node")
    _fill(own_broker)
    for job in [first, *waiting]:
        assert served.ended(job, 20).state == "succeeded"
    assert served.ended(served.submit(), 20).state == "succeeded"
    assert served.nodes[0].process.poll() is None


def test_a_flushed_broker_loses_bells_and_no_time(served: Service, own_broker: Broker) -> None:
    assert served.ended(served.submit()).state == "succeeded"
    with served.sessions() as session, connect(own_broker.url) as client:
        session.info.pop("bell")
        made = jobs.submit(session, jobs.Submission(kind="probe", spec={}, owner="ann", job_class="light")).job.id
        session.commit()
        client.flushall()
    assert served.ended(made, 20).state == "succeeded"


def test_a_node_does_not_ask_without_end_for_a_job_that_it_may_not_run(served: Service) -> None:
    """A job of a newer version is left alone, and the log of the node that leaves it does not grow by lines every second."""
    made = served.submit()
    served.ended(made)
    with served.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO jobs (id, kind, job_class, handler_version, owner, spec, spec_hash) "
                "VALUES ('job_newer', 'probe', 'light', 99, 'ann', '{}', 'x')"
            )
        )
    time.sleep(9)
    looked = served.nodes[0].log.read_text().count("received")
    assert 1 <= looked <= 6, "after 1, 3, 7 s at most, besides the first job's bell"
    assert served.job("job_newer").state == "queued"


def test_a_broker_that_hangs_keeps_a_bell_a_few_seconds(own_broker: Broker) -> None:
    """A worker rings after its claim and before its first heartbeat: half a minute there was most of a short lease."""
    bell = Bell(Settings.model_validate({"broker_url": own_broker.url}))
    assert bell.ring("model")
    [server] = own_broker.processes()
    os.kill(server, signal.SIGSTOP)
    try:
        asked = time.monotonic()
        assert not bell.ring("model", 2)
        assert time.monotonic() - asked < 10
    finally:
        os.kill(server, signal.SIGCONT)
        bell.close()
