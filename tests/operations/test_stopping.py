"""SIGTERM stops a worker node or a whole service in order: the running job goes back to the queue and is not counted as lost."""

import shutil
import signal
import time

import pytest

import binnacle
from shipped import MODELS
from tests.embedded.running import Up, until
from tests.services import make_folder
from tests.worker.conftest import Service

GRACE = {"BINNACLE_LEASE_DRAIN_GRACE": "2", "BINNACLE_LEASE_TTL": "60", "BINNACLE_LEASE_MARGIN": "10"}
"""Seconds. The lease outlasts the test, so only the node itself can give the job back in time.
Jobs here ignore the stop in their first attempt alone, which `count_in` counts."""


def test_a_job_that_ignores_the_stop_is_taken_from_its_child_without_a_loss(live: Service) -> None:
    node = live.node(**GRACE)
    job_id = live.submit(steps=3, at=1, do="deaf", hang_seconds=300, count_in=str(live.folder / "calls"))
    live.acting(job_id)
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(120) == 0
    job = live.job(job_id)
    assert (job.state, job.losses) == ("queued", 0)
    last = live.events(job_id)[-1]
    assert (last.type, last.data["code"]) == ("interrupted", "drained")
    live.node("light-1")
    ended = live.ended(job_id)
    assert (ended.state, ended.attempt, ended.result["kept"]) == ("succeeded", 2, [0]), "what was finished is kept"


def test_a_second_signal_loses_no_job(live: Service) -> None:
    node = live.node(BINNACLE_LEASE_TTL="60", BINNACLE_LEASE_MARGIN="10")
    job_id = live.submit(steps=2, do="deaf", hang_seconds=300, count_in=str(live.folder / "calls"))
    live.acting(job_id)
    node.process.send_signal(signal.SIGTERM)
    live.until(lambda: "Warm shutdown" in node.log.read_text(), "the first signal to be heard")
    node.process.send_signal(signal.SIGQUIT)
    node.process.wait(120)
    live.node("light-0")
    assert live.ended(job_id).state == "succeeded"
    assert live.job(job_id).losses == 0


@pytest.mark.chaos
@pytest.mark.long
def test_a_stopped_service_resumes_its_job_when_it_starts_again() -> None:
    folder = make_folder()
    up = Up(folder / "home")
    up.start()
    with binnacle.Client(up.url, up.key) as client:
        client.add_model("demo-severe", str(MODELS / "demo-severe"))
        client.await_model("demo-severe", timeout=500)
        prompts = [f"please tell me {n} things about boats ." for n in range(2, 402)]
        job = client.calibrate("demo-severe", prompts=prompts, max_new_tokens=64)["id"]
        until(lambda: client.job(job)["progress"]["done"] > 0, "the job to have made progress")
    began = time.monotonic()
    assert up.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 50
    up.start()
    try:
        with binnacle.Client(up.url, up.key) as client:
            ended = client.wait(job, timeout=500)
            assert (ended["state"], ended["losses"], ended["attempt"]) == ("succeeded", 0, 2)
            # a job that stops by itself has this event; one that is taken from its child is "interrupted" with this as its code
            assert "drained" in [event["type"] for event in client.events(job)]
    finally:
        assert up.stop() == 0
        shutil.rmtree(folder)
