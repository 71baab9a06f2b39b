"""A job ends exactly once when its worker's child or parent is killed, hangs, or is cut off from the database."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.chaos.arena import gone
from tests.chaos.conftest import Cable, Ended
from tests.worker.conftest import Service

pytestmark = pytest.mark.chaos


@pytest.fixture
def patient(make_service: Callable[..., Service], database_url: str, broker_url: str, broker_prefix: str) -> Service:
    """A service with leases of three minutes: what happens sooner was done by a parent, not by the end of a lease."""
    return make_service(database_url, broker_url, broker_prefix, ttl=180, margin=10)


def test_a_killed_child_is_reported_by_its_parent_at_once_and_the_job_is_finished(patient: Service) -> None:
    live = patient
    node = live.node()
    gate = live.folder / "gate"
    job_id = live.submit(steps=3, at=2, gate=str(gate))
    live.running(job_id, cells=2)
    os.kill(node.child(), signal.SIGKILL)
    live.until(lambda: "lost" in live.event_types(job_id), "the loss to be noticed", seconds=120)
    lost = next(event for event in live.events(job_id) if event.type == "lost")
    assert lost.data["signal"] == "signal 9 (SIGKILL)"
    gate.touch()
    Ended.well(live, job_id)
    job = live.job(job_id)
    assert (job.attempt, job.losses) == (2, 0), "a cell finished since"
    assert job.result["kept"] == [0, 1], "finished cells are not computed again"


def test_a_killed_parent_takes_its_child_along_and_another_node_finishes_the_job(live: Service) -> None:
    first = live.node("light-0")
    gate = live.folder / "gate"
    job_id = live.submit(steps=2, at=1, gate=str(gate))
    live.running(job_id, cells=1)
    child = first.child()
    first.kill()
    live.until(lambda: gone(child), "the child to die", seconds=60)  # left alone it would wait for the gate
    gate.touch()
    live.node("light-1")
    Ended.well(live, job_id)
    assert live.job(job_id).attempt == 2


def test_a_restarted_node_resumes_its_job_before_the_lease_ends(patient: Service) -> None:
    live = patient
    node = live.node()
    job_id = live.submit(steps=4, seconds=0.3)
    live.running(job_id, cells=1)
    node.kill()
    live.node()
    Ended.well(live, job_id)


def test_a_job_that_kills_its_worker_every_time_fails_as_poison_and_others_succeed(patient: Service) -> None:
    live = patient
    live.node()
    poison = live.submit(do="die")
    others = [live.submit("bob") for _ in range(3)]
    job = live.ended(poison)
    assert (job.state, job.error["code"], job.attempt, job.losses) == ("failed", "poison", 3, 3)
    assert "SIGKILL" in job.error["detail"]
    for other in others:
        Ended.well(live, other)


def test_a_job_that_dies_once_is_run_again(live: Service) -> None:
    live.node()
    job_id = live.submit(steps=3, at=1, do="exit", count_in=str(live.folder / "calls"))
    Ended.well(live, job_id)
    assert live.job(job_id).attempt == 2


def test_a_memory_error_while_a_failure_is_reported_does_not_end_the_parent(live: Service) -> None:
    """A MemoryError that left the task would end Celery's parent. The job runs again once its lease has ended."""
    node = live.node()
    job_id = live.submit(do="memory for nothing", count_in=str(live.folder / "calls"))
    Ended.well(live, job_id)
    assert node.process.poll() is None
    assert "Process got" not in node.log.read_text(), "Celery's parent must not have seen it"


def test_a_hung_child_that_cannot_renew_its_lease_is_killed_before_the_lease_ends(live: Service) -> None:
    node = live.node()
    job_id = live.submit(do="hang", count_in=str(live.folder / "calls"))
    job = live.acting(job_id)
    child = job.child_pid
    began = time.monotonic()
    live.until(lambda: gone(child), "the hung child to be killed", seconds=60)
    assert time.monotonic() - began < live.settings.lease.ttl + 1, node.log.read_text()[-2000:]
    Ended.well(live, job_id)


def test_a_worker_cut_off_from_the_database_stops_in_time_and_writes_nothing_later(live: Service, cable: Cable) -> None:
    live.node("light-0", DATABASE_URL=cable.url)
    job_id = live.submit(steps=12, seconds=0.4)
    job = live.running(job_id, cells=1)
    child = job.child_pid
    cable.cut()
    began = time.monotonic()
    live.until(lambda: gone(child), "the cut-off child to stop", seconds=60)
    assert time.monotonic() - began <= live.settings.lease.ttl, "it must stop before another worker may start"
    live.node("light-1")
    live.until(lambda: live.job(job_id).worker_id == "light-1@here", "another to take over")
    cable.mend()
    Ended.well(live, job_id)
    assert live.job(job_id).attempt == 2
    cells = [event.data["cell"] for event in live.events(job_id) if event.type == "cell"]
    assert sorted(cells) == sorted({f"step/{n}" for n in range(12)}), "each cell was written once"
