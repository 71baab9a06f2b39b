"""Two nodes, on one host or two, cannot run under the same name."""

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from app.devices.models import Worker
from app.jobs import claims
from app.settings import LeaseSettings
from tests.worker.conftest import Node, Service
from workers.watch import Watch


@pytest.fixture
def calm(make_service: Callable[..., Service], database_url: str, broker_url: str, broker_prefix: str) -> Service:
    """A service with nodes that show every two seconds that they live, so that one that a busy machine holds up does not look dead."""
    return make_service(database_url, broker_url, broker_prefix, watch=2)


def test_a_node_does_not_start_under_the_name_of_a_live_node(calm: Service) -> None:
    live = calm
    first = live.node("light-0")
    job_id = live.submit(steps=30, seconds=0.2)
    live.running(job_id, cells=1)
    twin = Node("light-0", live.environment(), live.folder / "twin.log", forking=live.forking)
    live.nodes.append(twin)
    assert twin.process.wait(120) == 1
    assert "Another node runs as light-0@here" in twin.log.read_text()
    job = live.ended(job_id)
    assert (job.state, job.attempt) == ("succeeded", 1)
    assert first.process.poll() is None


def test_of_two_nodes_that_start_under_one_name_at_once_one_stays(calm: Service) -> None:
    """As two hosts with the same name when the power returns: at first neither finds the row of the other."""
    live = calm
    twins = [Node("light-0", live.environment(), live.folder / f"{n}.log", forking=live.forking) for n in range(2)]
    live.nodes += twins
    jobs = [live.submit(steps=3, seconds=0.2) for _ in range(20)]
    ended = [live.ended(job) for job in jobs]
    assert {(job.state, job.losses) for job in ended} == {("succeeded", 0)}
    deadline = time.monotonic() + 120
    while all(twin.process.poll() is None for twin in twins) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sorted(twin.process.poll() is None for twin in twins) == [False, True]
    assert live.ended(live.submit()).state == "succeeded"


def test_a_node_starts_under_the_name_of_a_killed_node(live: Service) -> None:
    live.node("light-0").kill()
    live.node("light-0")
    assert live.ended(live.submit()).state == "succeeded"


def test_a_suspended_node_stops_if_another_took_its_name_meanwhile(
    make_service: Callable[..., Service], database_url: str, broker_url: str, broker_prefix: str
) -> None:
    """As on a suspended laptop: it does not take the name back, and does not disturb the jobs of the other node."""
    live = make_service(database_url, broker_url, broker_prefix, watch=1)
    sleeper = live.node("light-0")
    os.killpg(sleeper.process.pid, signal.SIGSTOP)
    second = live.node("light-0")
    job_id = live.submit(steps=20, seconds=0.2)
    live.running(job_id, cells=1)
    os.killpg(sleeper.process.pid, signal.SIGCONT)
    live.until(lambda: sleeper.process.poll() is not None, "the first node to stop")
    assert "name.taken" in sleeper.log.read_text()
    job = live.ended(job_id)
    assert (job.state, job.attempt, job.losses) == ("succeeded", 1, 0)
    with live.sessions() as session:
        assert session.get_one(Worker, "light-0@here").parent_pid == second.process.pid


def test_the_job_of_another_host_with_the_same_name_is_not_given_back(live: Service) -> None:
    """Its process id exists on the other host, and must not count as dead because it does not exist here."""
    with live.sessions.begin() as session:
        session.add(Worker(id="light-0@here", job_class="light", device="none", host="elsewhere", parent_pid=1, version="0"))
    job_id = live.submit()
    with subprocess.Popen(["true"]) as child:
        child.wait(120)
    with live.sessions.begin() as session:
        claims.claim(session, claims.Claimer("light-0@here", "light", child.pid, {"probe": 1}), ttl=60, slice_seconds=60)
    watch = Watch(live.sessions, LeaseSettings(), "light-0@here", set)
    watch.last_look()
    assert live.job(job_id).state == "running"
