"""`binnacle worker` beside a real `binnacle up --serve-workers`: it needs nothing of it but the file with the servers' addresses."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded.errors import EmbeddedError
from app.embedded.home import Home
from app.embedded.sharing import Sharing
from tests.embedded.running import CODE, Up, until
from tests.ports import unused_ports
from tests.services import make_folder


@pytest.fixture
def up() -> Iterator[Up]:
    folder = make_folder()
    database, broker = unused_ports(2)
    sharing = ("--serve-workers", "127.0.0.1", "--database-port", str(database), "--broker-port", str(broker))
    service = Up(folder / "home", None, "--port", "0", "--device", "cpu", *sharing)
    service.start()
    yield service
    assert service.stop() == 0
    shutil.rmtree(folder)


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", "worker", "--home", str(home), "--device", "cpu", *arguments]


def test_a_worker_of_another_host_registers_and_leaves_the_list_when_it_stops(up: Up, tmp_path: Path) -> None:
    def nodes() -> set[str]:
        return {worker["id"] for worker in up.get("/v1/status")[1]["workers"] if worker["alive"]}

    told = up.home / "worker.env"
    assert str(told) in up.output()
    assert stat.S_IMODE(told.stat().st_mode) == 0o600
    script = f". {told} && exec " + " ".join(command(tmp_path / "elsewhere", "--name", "elsewhere", "--no-light"))
    with (tmp_path / "seen").open("wb") as seen:
        worker = subprocess.Popen(["sh", "-c", script], stdout=seen, stderr=seen, cwd=CODE)
    try:
        until(lambda: "model-0@elsewhere" in nodes(), "the worker to report")
        assert "light-0@elsewhere" not in nodes()
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(120) == 0, (tmp_path / "seen").read_text()
    assert "model-0@elsewhere" not in nodes()
    assert "stopped" in (tmp_path / "seen").read_text()


def test_a_worker_without_the_servers_addresses_says_where_to_get_them(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    environment["BROKER_URL"] = "redis://127.0.0.1:1/0"
    refused = subprocess.run(command(tmp_path), env=environment, capture_output=True, text=True, cwd=CODE)
    assert refused.returncode == 1
    assert "DATABASE_URL, STORAGE_URL must say where the service is" in refused.stderr
    assert "worker.env" in refused.stderr


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "everywhere"])
def test_an_address_that_other_hosts_cannot_reach_is_refused(address: str) -> None:
    with pytest.raises(EmbeddedError, match=r"not an address at which other hosts reach this machine"):
        Sharing(address)


def test_the_file_for_workers_replaces_sockets_by_addresses_and_keeps_other_urls(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    storage = "s3://lab?endpoint=http://10.0.0.5:9000&region=us-east-1"
    path = Sharing("fd00::5", 5433).publish(
        home, "postgresql+psycopg://binnacle:pw@/binnacle?host=/x&port=5433", "rediss://u:p@elsewhere:6380/1", storage
    )
    assert path.read_text().splitlines() == [
        "export DATABASE_URL='postgresql+psycopg://binnacle:pw@[fd00::5]:5433/binnacle'",
        "export BROKER_URL=rediss://u:p@elsewhere:6380/1",
        f"export STORAGE_URL='{storage}'",
    ]
