"""`binnacle up` starts and stops a whole service, replaces what is killed, leaves no process behind, and refuses settings that cannot work."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from app.embedded.broker import Broker, answers
from app.embedded.processes import eldest, working_in
from tests.embedded.running import CODE, READY, Up, until
from tests.services import make_folder


@pytest.fixture(scope="module")
def service() -> Iterator[Up]:
    """One running service, which the tests of this file use one after the other; they leave it running."""
    folder = make_folder()
    up = Up(folder / "home")
    up.start()
    yield up
    if up.process and up.process.poll() is None:
        assert up.stop() == 0, up.output()
    shutil.rmtree(folder)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_it_prints_where_everything_is_and_its_key_opens_the_api(service: Up) -> None:
    seen = service.output()
    assert READY in seen
    for what in (service.url, str(service.home / "admin.key"), str(service.home / "logs")):
        assert what in seen
    assert service.key not in seen
    assert stat.S_IMODE((service.home / "run.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((service.home / "admin.key").stat().st_mode) == 0o600
    assert service.get("/readyz")[0] == 200
    assert service.get("/v1/status")[0] == 200


def test_one_model_worker_and_one_light_worker_register(service: Up) -> None:
    def classes() -> list[str]:
        return sorted(worker["job_class"] for worker in service.get("/v1/status")[1]["workers"])

    until(lambda: classes() == ["light", "model"], "both workers in /v1/status")


def test_a_folder_without_a_model_is_refused_in_one_sentence_with_the_way_out(service: Up, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app.cli", "models", "add", "hollow", str(tmp_path)]
    environment = {**os.environ, "BINNACLE_URL": service.url, "BINNACLE_KEY": service.key, "BINNACLE_HOME": str(service.home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    *progress, last = done.stderr.splitlines()
    assert last.startswith("hollow cannot be used: not_a_model_folder: ")
    assert "binnacle models remove hollow" in last
    assert [line for line in progress if "failed" in line] == []


def test_the_api_starts_before_the_workers(service: Up) -> None:
    """Their imports would take from it the cores that it needs to become ready."""
    [api] = service.processes("app.server")
    started = [psutil.Process(pid).create_time() for pid in service.processes("workers.celery_app")]
    assert started
    assert psutil.Process(api).create_time() < min(started)
    assert service.get("/readyz")[0] == 200


def test_a_second_up_on_the_folder_names_the_first(service: Up) -> None:
    command = [sys.executable, "-m", "app.cli", "up", "--home", str(service.home), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, cwd=CODE, timeout=120)
    assert second.returncode == 3
    said = second.stdout + second.stderr
    assert service.url in said
    assert service.process
    assert str(service.process.pid) in said
    assert service.get("/readyz")[0] == 200


def test_a_killed_api_comes_back_on_the_same_port(service: Up) -> None:
    [before] = service.processes("app.server")
    url = service.url
    kill(before)
    until(lambda: service.processes("app.server") not in ([], [before]), "another API process")
    until(lambda: service.get("/readyz")[0] == 200, "/readyz")
    assert service.url == url


def test_a_killed_postgres_comes_back_with_its_data(service: Up) -> None:
    before = service.postmaster
    kill(before)

    def another() -> bool:
        with suppress(OSError, IndexError):  # the file with its id is not there yet, or still empty
            return service.postmaster != before
        return False

    until(lambda: another() and service.get("/v1/status")[0] == 200, "the key in the database opens the API")


def test_a_killed_broker_comes_back(service: Up) -> None:
    data = service.home / "broker" / "data"
    [before] = working_in(data)
    kill(before)
    until(lambda: working_in(data) not in ([], [before]), "another broker process")
    url = f"redis+socket://:{(service.home / 'broker' / 'password').read_text()}@{service.home}/broker/socket/broker.sock"
    until(lambda: answers(url), "the broker")
    until(lambda: service.get("/readyz")[0] == 200, "/readyz")


def test_a_killed_worker_is_replaced_and_leaves_no_child(service: Up) -> None:
    before = service.processes("model-0")
    [parent] = eldest(before)
    kill(parent)
    until(lambda: service.processes("model-0") and not set(before) & set(service.processes("model-0")), "another worker")


def test_ctrl_c_stops_everything_and_the_next_start_has_the_same_key(service: Up) -> None:
    key = service.key
    assert service.stop(signal.SIGINT) == 0
    assert service.everything() == []
    assert not (service.home / "run.json").exists()
    assert "stopped" in service.output()
    assert not (service.home / "postgres" / "data" / "postmaster.pid").exists()  # a clean shutdown
    service.start()
    assert service.key == key
    assert service.get("/v1/status")[0] == 200


def test_nothing_outlives_a_killed_up_and_the_next_one_starts_on_its_data(service: Up) -> None:
    assert service.process
    key = service.key
    service.process.kill()
    service.process.wait()
    until(lambda: not service.everything(), "the end of every child")
    service.start()
    assert service.key == key
    assert service.get("/v1/status")[0] == 200


def test_a_signal_during_the_start_stops_it_cleanly() -> None:
    folder = make_folder()
    up = Up(folder / "home")
    up.launch()
    until(up.everything, "the first child")
    assert up.stop(signal.SIGTERM) == 0, up.output()
    assert up.everything() == []
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--database-port", "5432"], {}, "--database-port has no effect without --serve-workers ADDRESS"),
        (["--broker-port", "6380"], {}, "--broker-port has no effect without --serve-workers ADDRESS"),
        (["--database-port", "5433", "--serve-workers", "127.0.0.1"], {"DATABASE_URL": "postgresql://x"}, "where DATABASE_URL names a server"),
        (["--broker-port", "6380", "--serve-workers", "127.0.0.1"], {"BROKER_URL": "redis://x"}, "where BROKER_URL names a server"),
        (["--cpu-workers", "2"], {"PATH": "with a tool that lists a GPU"}, "--cpu-workers has no effect on a machine with a GPU"),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_refused_before_anything_starts(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-11111111-2222-3333-4444-555555555555)'\n")
    tool.chmod(0o755)
    if "PATH" in environment:
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    up = Up(tmp_path / "home", environment, "--port", "0", *arguments)
    up.launch()
    assert up.process
    try:
        assert up.process.wait(120) == 1
    finally:
        up.process.kill()
    assert "option_without_effect" in up.output()
    assert sentence in " ".join(up.output().split())
    assert not (tmp_path / "home" / "postgres").exists()


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    folder = make_folder()
    up = Up(folder / "home", {"DATABASE_URL": " postgres://me:secret-word@127.0.0.1:1/binnacle "})  # a form that settings take
    up.launch()
    assert up.process
    assert up.process.wait(120) == 1
    assert "database_unreachable" in up.output()
    assert "127.0.0.1:1/binnacle does not answer" in up.output()
    assert "secret-word" not in up.output()
    assert up.everything() == []
    shutil.rmtree(folder)


def test_a_broker_that_does_not_answer_is_warned_of_before_ready() -> None:
    folder = make_folder()
    up = Up(folder / "home", {"BROKER_URL": "redis://:secret-word@127.0.0.1:1/0"})
    up.start()
    try:
        said = up.output()
        assert -1 < said.find("warning: The broker of BROKER_URL does not answer") < said.find(READY)
        assert "secret-word" not in said
    finally:
        assert up.stop() == 0
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def elsewhere(postgres_url_factory: Callable[[], str], broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A service without keys that uses servers started elsewhere."""
    folder = make_folder()
    up = Up(
        folder / "home",
        {
            "BINNACLE_AUTH": "off",
            "DATABASE_URL": postgres_url_factory(),
            "BROKER_URL": broker.url,
            "STORAGE_URL": f"file://{tmp_path_factory.mktemp('objects')}",
            "BINNACLE_BROKER_PREFIX": "up:",
        },
    )
    up.start()
    yield up
    if up.process and up.process.poll() is None:
        assert up.stop() == 0, up.output()
    shutil.rmtree(folder)


def test_given_servers_are_used_instead_of_the_embedded_ones(elsewhere: Up) -> None:
    assert elsewhere.get("/readyz", (elsewhere.home / "local.secret").read_text())[0] == 200
    assert not (elsewhere.home / "postgres").exists()
    assert not (elsewhere.home / "broker").exists()
    assert not (elsewhere.home / "objects").exists()


def test_without_keys_it_prints_a_secret_and_keeps_it_where_the_command_line_finds_it(elsewhere: Up) -> None:
    file = elsewhere.home / "local.secret"
    secret = file.read_text()
    assert secret in elsewhere.output()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not (elsewhere.home / "admin.key").exists()
    environment = {name: value for name, value in os.environ.items() if name not in {"BINNACLE_URL", "BINNACLE_KEY"}}
    command = [sys.executable, "-m", "app.cli", "status"]
    asked = subprocess.run(
        command, cwd=CODE, env=environment | {"BINNACLE_HOME": str(elsewhere.home)}, capture_output=True, text=True, timeout=120
    )
    assert "keys off" in asked.stdout, asked.stderr
    api = {Path(f"/proc/{pid}/environ").read_text() for pid in elsewhere.processes("app.server")}
    workers = {Path(f"/proc/{pid}/environ").read_text() for pid in elsewhere.processes("celery")}
    assert api
    assert workers
    assert all(secret in text for text in api)
    assert not any(secret in text for text in workers), "workers do not need it"
    assert elsewhere.stop() == 0
    assert not file.exists()
    assert secret not in (elsewhere.home / "logs" / "api.log").read_text()
