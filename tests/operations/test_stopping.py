"""SIGTERM to a worker node: its job goes back, whatever the job is doing, and nobody is charged; a whole service ends in order."""

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
"""With a lease that is longer than the test: only the node itself can give the job back in time."""


def test_a_job_that_does_not_look_up_is_taken_from_its_child_uncharged(live: Service) -> None:
    node = live.node(**GRACE)
    job_id = live.submit(steps=3, at=1, do="deaf", hang_seconds=300, count_in=str(live.folder / "calls"))
    live.running(job_id, cells=1)
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(55) == 0
    job = live.job(job_id)
    assert (job.state, job.losses) == ("queued", 0)
    last = live.events(job_id)[-1]
    assert (last.type, last.data["code"]) == ("interrupted", "drained")
    live.node("light-1")
    ended = live.ended(job_id, seconds=60)
    assert (ended.state, ended.attempt, ended.result["kept"]) == ("succeeded", 2, [0]), "what was finished is kept"


def test_an_impatient_second_signal_loses_nothing_either(live: Service) -> None:
    node = live.node(BINNACLE_LEASE_TTL="60", BINNACLE_LEASE_MARGIN="10")
    job_id = live.submit(steps=2, do="deaf", hang_seconds=300, count_in=str(live.folder / "calls"))
    live.running(job_id)
    node.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    node.process.send_signal(signal.SIGQUIT)
    node.process.wait(55)
    live.node("light-0")
    assert live.ended(job_id, seconds=60).state == "succeeded"
    assert live.job(job_id).losses == 0


@pytest.mark.chaos
@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_whole_service_told_to_stop_takes_its_job_up_again_when_it_is_back() -> None:
    folder = make_folder()
    up = Up(folder / "home")
    up.start()
    with binnacle.Client(up.url, up.key) as client:
        client.add_model("demo-severe", str(MODELS / "demo-severe"))
        client.await_model("demo-severe", timeout=120)
        prompts = [f"please tell me {n} things about boats ." for n in range(2, 402)]
        job = client.calibrate("demo-severe", prompts=prompts, max_new_tokens=64)["id"]
        until(lambda: client.job(job)["progress"]["done"] > 0, 60, "the job to be in the middle of something")
    began = time.monotonic()
    assert up.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 50
    up.start()
    try:
        with binnacle.Client(up.url, up.key) as client:
            ended = client.wait(job, timeout=240)
            assert (ended["state"], ended["losses"], ended["attempt"]) == ("succeeded", 0, 2)
            assert "drained" in [event["type"] for event in client.events(job)]
    finally:
        assert up.stop() == 0
        shutil.rmtree(folder)
