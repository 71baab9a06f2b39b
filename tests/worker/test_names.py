"""Two nodes cannot run under one name, as hosts of the same name would have them."""

import time

from tests.worker.conftest import Node, Service


def test_a_node_does_not_start_under_a_living_nodes_name_and_the_first_is_not_disturbed(live: Service) -> None:
    first = live.node("light-0")
    job_id = live.submit(steps=30, seconds=0.2)
    live.running(job_id, cells=1)
    twin = Node("light-0", live.environment(), live.folder / "twin.log")
    live.nodes.append(twin)
    assert twin.process.wait(30) == 1
    assert "Another node runs as light-0@here" in twin.log.read_text()
    job = live.ended(job_id)
    assert (job.state, job.attempt) == ("succeeded", 1)
    assert first.process.poll() is None


def test_of_two_that_start_in_the_same_moment_one_stays(live: Service) -> None:
    """As two hosts of one name do when the power is back: neither sees the other's row when it looks."""
    twins = [Node("light-0", live.environment(), live.folder / f"{n}.log") for n in range(2)]
    live.nodes += twins
    jobs = [live.submit(steps=3, seconds=0.2) for _ in range(20)]
    ended = [live.ended(job) for job in jobs]
    assert {(job.state, job.losses) for job in ended} == {("succeeded", 0)}
    deadline = time.monotonic() + 30
    while all(twin.process.poll() is None for twin in twins) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sorted(twin.process.poll() is None for twin in twins) == [False, True]
    assert live.ended(live.submit()).state == "succeeded"


def test_a_killed_node_is_followed_by_one_of_its_name(live: Service) -> None:
    live.node("light-0").kill()
    live.node("light-0")
    assert live.ended(live.submit()).state == "succeeded"
