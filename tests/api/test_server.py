"""The server as a process of its own: its logs, and that it starts and stops as an operator expects."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.auth.keys import ensure_first_key
from app.models.models import Model
from app.settings import Settings
from tests.api.conftest import FACTS, PEPPER, VERIFY, submit
from tests.api.test_polling import wait_until

ROOT = Path(__file__).parents[2]


class Program:
    """`python -m app.server` and what it writes."""

    def __init__(self, settings: Settings, port: int, log: Path) -> None:
        self.url, self.log = f"http://127.0.0.1:{port}", log
        environment = os.environ | {
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "BROKER_URL": settings.broker_url.get_secret_value(),
            "STORAGE_URL": settings.storage_url.get_secret_value(),
            "BINNACLE_BROKER_PREFIX": settings.broker_prefix,
            "BINNACLE_KEY_PEPPER": PEPPER,
        }
        with log.open("wb") as out:
            command = [sys.executable, "-m", "app.server", "--port", str(port)]
            self.process = subprocess.Popen(command, env=environment, stderr=out, stdout=out, cwd=ROOT)
        while not self._answers():  # as long as it takes: starting is work, of seconds where the machine has nothing else to do
            time.sleep(0.05)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx2.get(f"{self.url}/livez", timeout=120, verify=VERIFY).is_success
        except httpx2.TransportError:
            return False

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def program(settings: Settings, sessions: sessionmaker[Session], tmp_path: Path, unused_port: int) -> Iterator[Program]:
    with sessions.begin() as session:
        session.add(Model(name="demo", source="/m", state="ready", facts=FACTS, created_by="root"))
    running = Program(settings, unused_port, tmp_path / "log")
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture
def root(program: Program, sessions: sessionmaker[Session], tmp_path: Path) -> Iterator[httpx2.Client]:
    key = ensure_first_key(sessions, tmp_path / "key", pepper=PEPPER)
    with httpx2.Client(base_url=program.url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
        yield client


def test_logs_are_json_join_requests_to_jobs_and_hold_neither_prompts_nor_keys(program: Program, root: httpx2.Client) -> None:
    prompts = ["a very private prompt"]
    answer = root.post("/v1/calibrations", json={"model": "demo", "prompts": prompts, "notes": "private note"})
    root.post("/v1/calibrations", json={"model": "demo", "prompts": [*prompts, ""]})
    root.get("/v1/jobs?name=private")
    [line] = [one for one in program.lines() if one["event"] == "request" and one["status"] == 202]
    assert (line["request_id"], line["job_id"]) == (answer.headers["X-Request-ID"], answer.json()["id"])
    assert line["route"] == "/v1/calibrations"
    assert "private" not in program.log.read_text()
    assert root.headers["Authorization"].split()[1] not in program.log.read_text()


def test_a_stop_answers_waiting_requests_and_then_ends(program: Program, root: httpx2.Client) -> None:
    """A long poll of a minute must not hold up a restart."""
    path = submit(root)["links"]["self"]
    found: list[httpx2.Response] = []
    wait = threading.Thread(target=lambda: found.append(root.get(f"{path}?wait=50")))
    stream = threading.Thread(target=lambda: found.append(root.get(f"{path}/events", headers={"Accept": "text/event-stream"})))
    wait.start()
    stream.start()
    wait_until(lambda: root.get("/v1/status").json()["waiting_requests"] == 2)
    program.process.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    assert program.process.wait(timeout=120) == -signal.SIGTERM
    assert time.monotonic() - stopped < 35, "the long poll would hold it up for 50 s"
    wait.join(60)
    stream.join(60)
    assert [answer.status_code for answer in found] == [200, 200]
    assert any("event: reconnect" in answer.text for answer in found)


def test_a_start_on_a_socket_in_use_ends_with_one_sentence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(tmp_path / "api"))
        taken.listen()
        command = [sys.executable, "-m", "app.server", "--socket", str(tmp_path / "api")]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert said.returncode == 2
    assert "Traceback" not in said.stderr
    assert "error: the socket cannot be opened: another server listens on" in said.stderr
