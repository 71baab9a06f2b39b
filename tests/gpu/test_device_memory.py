"""A child that ends gives all of its device memory back, however it ends, and a held device frees it without ending."""

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from app.devices import repository
from app.devices.models import Worker
from tests.gpu.conftest import MIB
from tests.worker.conftest import Service

ROUNDS = 20


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_spawned_child_that_is_ended_leaves_nothing_on_the_device(
    live: Service, look: Callable[[], str], free: Callable[[], int], card: dict[str, str]
) -> None:
    """Twenty rounds of spawn, load, run, end; by SIGTERM as a parent does it, and by SIGKILL as the kernel does."""
    baseline = free()
    node = live.node("model-0", **card)
    for round_ in range(ROUNDS):
        assert live.ended(look(), seconds=120).state == "succeeded", f"round {round_}"
        assert baseline - free() > 100 * MIB, "the model is on the device"
        child = node.child()
        os.kill(child, signal.SIGKILL if round_ % 2 else signal.SIGTERM)
        live.until(lambda pid=child: not psutil.pid_exists(pid), "the child to end", seconds=30)
        live.until(lambda: abs(baseline - free()) < 64 * MIB, f"the device's memory after round {round_}", seconds=30)


def test_a_held_device_is_freed_of_its_models(
    live: Service, look: Callable[[], str], free: Callable[[], int], card: dict[str, str]
) -> None:
    """The weights go; the CUDA context of the waiting child, some hundred MiB, stays."""
    node = live.node("model-0", **card)
    assert live.ended(look(), seconds=120).state == "succeeded"
    loaded = free()
    with live.sessions.begin() as session:
        repository.hold(session, node.id, mode="paused", reason=None, held_by="root", minutes=None)

    def unloaded() -> bool:
        with live.sessions() as session:
            return session.get_one(Worker, node.id).models == []

    live.until(unloaded, "the model to leave")
    assert free() - loaded > 100 * MIB
