"""Which devices get a worker, from what the driver's tool prints and what the administrator chose."""

import os
from pathlib import Path

import pytest

from app.embedded.commands import plan_workers, worker_environment
from app.embedded.devices import cuda_devices, parse_list

A = "GPU-11111111-2222-3333-4444-555555555555"
B = "GPU-99999999-2222-3333-4444-555555555555"
SPLIT = "MIG-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
LISTED = f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {A})\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: {B})\n"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver's tool that lists two GPUs."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '%s' '{LISTED}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tool


def test_every_gpu_gets_one_worker_that_sees_no_other(driver: Path) -> None:
    plans = plan_workers(cuda_devices({}))
    assert [(plan.name, plan.cuda) for plan in plans] == [("model-0", A), ("model-1", B), ("light-0", None)]
    seen = [worker_environment(plan, {"DATABASE_URL": "x"}) for plan in plans]
    assert [env["CUDA_VISIBLE_DEVICES"] for env in seen] == [A, B, ""]
    assert [env["BINNACLE_DEVICE"] for env in seen] == ["cuda:0", "cuda:0", "cpu"]


def test_the_administrators_choice_of_devices_is_kept(driver: Path) -> None:
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": f"1, {B}"}) == ["1", B]
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": "0,-1,1"}) == ["0"]
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": ""}) == []


def test_without_a_driver_the_cpu_is_the_one_device(driver: Path) -> None:
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver'\nexit 9\n")
    assert cuda_devices({}) == []
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": "0"}) == []
    assert [(plan.name, plan.cuda, plan.job_class) for plan in plan_workers([])] == [
        ("model-0", None, "model"),
        ("light-0", None, "light"),
    ]


def test_a_split_gpu_stands_for_its_instances() -> None:
    text = f"GPU 0: NVIDIA H100 (UUID: {A})\n  MIG 1g.10gb     Device  0: (UUID: {SPLIT})\nGPU 1: NVIDIA H100 (UUID: {B})\n"
    assert parse_list(text) == [SPLIT, B]
