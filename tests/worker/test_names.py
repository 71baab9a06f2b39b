"""Two nodes cannot run under one name, as hosts of the same name would have them."""

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


def test_a_killed_node_is_followed_by_one_of_its_name(live: Service) -> None:
    live.node("light-0").kill()
    live.node("light-0")
    assert live.ended(live.submit()).state == "succeeded"
