"""Jobs start within seconds although the broker is full, was flushed or hangs: nodes look for jobs by themselves when no bell comes."""

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
    """A service with one node that looks for jobs every second. The sweep comes only after 120 s, so it cannot find them instead."""
    service = make_service(database_url, own_broker.url, "full:", sweep=120)
    service.node(BINNACLE_LEASE_LOOK="1")
    return service


def _fill(broker: Broker) -> None:
    """Sets the memory limit of the broker so low that it refuses every write."""
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
        job = served.ended(served.submit(), 90)
        assert job.state == "succeeded"
        assert time.monotonic() - asked < 60, "the sweep would find it after 120 s"


def test_a_node_survives_a_bell_that_was_rung_before_the_broker_was_full(served: Service, own_broker: Broker) -> None:
    """Taking a bell must write nothing, as a refused write would end the node."""
    gate = served.folder / "gate"
    first = served.submit(gate=str(gate))
    served.running(first)
    waiting = [served.submit(), served.submit()]
    with connect(own_broker.url) as client:
        served.until(lambda: client.llen("full:light"), "a bell to wait for the busy node")
    _fill(own_broker)
    gate.touch()
    for job in [first, *waiting]:
        assert served.ended(job, 90).state == "succeeded"
    assert served.ended(served.submit(), 90).state == "succeeded"
    assert served.nodes[0].process.poll() is None


def test_a_job_starts_although_a_flush_of_the_broker_lost_its_bell(served: Service, own_broker: Broker) -> None:
    assert served.ended(served.submit()).state == "succeeded"
    with served.sessions() as session, connect(own_broker.url) as client:
        session.info.pop("bell")  # no bell for this job
        made = jobs.submit(session, jobs.Submission(kind="probe", spec={}, owner="ann", job_class="light")).job.id
        session.commit()
        client.flushall()
    assert served.ended(made, 90).state == "succeeded"


def test_a_node_looks_rarely_for_a_job_that_it_cannot_run(served: Service) -> None:
    """A job of a newer handler version stays queued, and the node waits longer before each further look."""
    made = served.submit()
    served.ended(made)
    with served.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO jobs (id, kind, job_class, handler_version, owner, spec, spec_hash) "
                "VALUES ('job_newer', 'probe', 'light', 99, 'ann', '{}', 'x')"
            )
        )
    time.sleep(9)  # what counts is how often the node looks in this time
    looked = served.nodes[0].log.read_text().count("received")
    assert 1 <= looked <= 6, "looks after 1, 3 and 7 s, and the bell of the first job"
    assert served.job("job_newer").state == "queued"


def test_ringing_at_a_broker_that_hangs_gives_up_in_seconds(own_broker: Broker) -> None:
    """A worker rings between its claim and its first heartbeat, where a long wait would use up a short lease."""
    bell = Bell(Settings.model_validate({"broker_url": own_broker.url}))
    assert bell.ring("model")
    [server] = own_broker.processes()
    os.kill(server, signal.SIGSTOP)
    try:
        asked = time.monotonic()
        assert not bell.ring("model", 2)
        assert time.monotonic() - asked < 30, "without a limit it would wait for the broker until it runs again"
    finally:
        os.kill(server, signal.SIGCONT)
        bell.close()
