"""An error that takes the CUDA context with it fails its job, ends the child, and leaves the next job a device that works."""

from collections.abc import Callable

from tests.worker.conftest import Service


def test_a_sticky_error_fails_its_job_and_the_next_runs_in_a_fresh_child(
    live: Service, look: Callable[[], str], card: dict[str, str]
) -> None:
    node = live.node("model-0", **card)
    assert live.ended(look(), seconds=120).state == "succeeded"
    child = node.child()
    failed = live.ended(live.submit(job_class="model", do="sticky"), seconds=60)
    assert (failed.state, failed.error["code"], failed.attempt) == ("failed", "device_failed", 1)
    assert live.ended(look(), seconds=120).state == "succeeded"
    assert node.child() != child
