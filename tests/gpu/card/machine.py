"""The device, its driver, the libraries, and the rates that everything else is compared with."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from tests.gpu.card.record import Record, Setup
from tests.gpu.card.timing import ceilings

LIBRARIES = ("torch", "transformers", "numpy", "scipy", "scikit-learn", "safetensors", "accelerate", "pytest", "tokenizers")


def run(setup: Setup, record: Record) -> None:
    """Raises RuntimeError where torch cannot use the device."""
    torch.ones(8, device=setup.device).sum().item()
    record.figure("device", torch.cuda.get_device_name(setup.device) if setup.cuda else _processor())
    record.figure("CPU cores", os.cpu_count())
    record.figure("load average at the start", round(os.getloadavg()[0], 1))
    if setup.cuda:
        found = torch.cuda.get_device_properties(setup.device)
        record.figure("memory", round(found.total_memory / 2**30, 1), "GiB")
        record.figure("free memory", round(torch.cuda.mem_get_info(setup.device)[0] / 2**30, 1), "GiB")
        record.figure("compute capability", f"{found.major}.{found.minor}, {found.multi_processor_count} multiprocessors")
        record.figure("driver", _driver())
        record.figure("CUDA of torch", str(torch.version.cuda))
    else:
        record.absent("driver")
    record.figure("Python", sys.version.split()[0])
    for name in LIBRARIES:
        record.figure(name, _version(name))
    with record.section("float32 products"):
        _exactness(setup, record)
    with record.section("rates"):
        rates = ceilings(setup)
        record.figure("copy", rates.bytes_per_s / 1e9, "GB/s", "read and written bytes counted")
        record.figure("bfloat16 product", rates.flops / 1e12, "TFLOP/s")
        record.figure("float32 product", ceilings(setup, torch.float32).flops / 1e12, "TFLOP/s")


def _exactness(setup: Setup, record: Record) -> None:
    """Whether float32 means float32: some images switch TF32 on for the whole machine."""
    left, right = (torch.randn(512, 512, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = left.double() @ right.double()
    found = (left.to(setup.device) @ right.to(setup.device)).cpu().double()
    error = float((found - exact).norm() / exact.norm())
    why = "TF32 gives 3e-4, and no choice between tokens could be settled; unset TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"
    record.check("float32 product against float64", error, most=1e-5, why=why)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[0].strip()
    except (OSError, subprocess.SubprocessError):
        told = Path("/proc/driver/nvidia/version")
        return told.read_text(encoding="utf-8").splitlines()[0] if told.exists() else "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())
