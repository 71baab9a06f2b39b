"""A calibration ends once and leaves the same bytes when every process of its service is killed, one after the other, while it runs."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import binnacle
from app.embedded.processes import working_in
from shipped import MODELS
from tests.embedded.running import Up, until
from tests.services import make_folder

pytestmark = pytest.mark.chaos
PROMPTS = [f"please tell me {n} things about boats and harbours ." for n in range(2, 34)]


@pytest.fixture
def up() -> Iterator[Up]:
    folder = make_folder()
    lease = {"TTL": "12", "MARGIN": "4", "SWEEP": "2", "WATCH": "1"}
    service = Up(folder / "home", {f"BINNACLE_LEASE_{name}": value for name, value in lease.items()})
    service.start()
    yield service
    service.stop()
    shutil.rmtree(folder)


def _file(client: binnacle.Client, job: dict[str, Any], folder: Path) -> bytes:
    return client.download(job["artifacts"][0], folder / job["id"]).read_bytes()


def test_a_calibration_is_the_same_to_the_byte_after_every_process_was_killed(up: Up, tmp_path: Path) -> None:
    with binnacle.Client(up.url, up.key) as client:
        _disturb(up, client, tmp_path)


def _disturb(up: Up, client: binnacle.Client, tmp_path: Path) -> None:
    name = sorted(path.name for path in MODELS.iterdir() if path.is_dir())[0]
    if name not in {model["name"] for model in client.models()}:
        client.add_model(name, str(MODELS / name))
    client.await_model(name, timeout=120)
    undisturbed = client.wait(client.calibrate(name, prompts=PROMPTS, max_new_tokens=96)["id"], timeout=300)
    assert undisturbed["state"] == "succeeded", undisturbed["error"]

    worker = next(pid for pid in up.processes("celery") if "model-0" in " ".join(psutil.Process(pid).cmdline()))
    child = next(p.pid for p in psutil.Process(worker).children() if "spawn_main" in " ".join(p.cmdline()))
    broker = working_in(up.home / "broker" / "data")[0]
    victims = [child, up.processes("app.server")[0], up.postmaster, broker, worker]
    job = client.calibrate(name, prompts=PROMPTS, max_new_tokens=96, priority=1)["id"]
    until(lambda: client.job(job)["state"] == "running", "the job to run")
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
        time.sleep(2)  # so that the later kills hit a service that is still recovering
    ended = client.wait(job, timeout=500)
    assert ended["state"] == "succeeded", ended["error"]
    assert ended["attempt"] > 1, "the faults hit the job"
    assert ended["losses"] <= 2, "only the kills of its child and of its worker may count"
    types = [event["type"] for event in client.events(job)]
    assert [t for t in types if t in {"succeeded", "failed", "cancelled"}] == ["succeeded"]
    assert _file(client, ended, tmp_path) == _file(client, undisturbed, tmp_path)
