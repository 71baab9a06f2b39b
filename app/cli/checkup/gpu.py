"""Checks Python, torch and the GPU driver, and that their versions fit each other."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.cli.checkup.finding import Finding
from binnacle.words.counting import counted

INSTALL_TORCH = "pip install torch==2.13.0"
INSTALL_WORKER = "pip install 'binnacle-interp[worker]'"
_ASK_TORCH = "import json, torch; print(json.dumps([torch.__version__, torch.version.cuda, torch.cuda.device_count()]))"
_HEADER = re.compile(r"Driver Version:\s*([\d.]+).*CUDA(?: UMD)? Version:\s*([\d.]+)?")


@dataclass(frozen=True)
class Torch:
    """Facts about the installed torch; `cuda` is the version that it was built for, None for a build without."""

    version: str
    cuda: str | None
    devices: int


@dataclass(frozen=True)
class Driver:
    """The answer of the driver's own tool; `error` when the tool failed, `cuda` None when it found no CUDA library (it prints N/A)."""

    version: str | None = None
    cuda: str | None = None
    error: str | None = None


def python() -> Iterator[Finding]:
    """Yields the finding about Python's version: a fault below 3.11."""
    version = ".".join(map(str, sys.version_info[:3]))
    fine = sys.version_info >= (3, 11)
    yield Finding(
        "python", "ok" if fine else "fault", f"{version} at {sys.executable}" + ("" if fine else "; 3.11 is the oldest supported")
    )


def torch_and_driver() -> Iterator[Finding]:
    """Yields the findings about torch and the driver. Torch runs in a process of its own: loading it takes seconds and memory."""
    driver = ask_driver()
    if find_spec("torch") is None:
        detail = f"not installed: this machine can serve the API but run no model worker ({INSTALL_WORKER})"
        yield Finding("torch", "note", detail)
        torch = None
    else:
        asked = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=120, check=False)
        if asked.returncode:
            last = asked.stderr.strip().splitlines()[-1:] or ["no message"]
            yield Finding("torch", "fault", f"cannot be imported ({last[0]}). Install it again: {INSTALL_TORCH}")
            return
        torch = Torch(*json.loads(asked.stdout.splitlines()[-1]))
        built = f"built for CUDA {torch.cuda}" if torch.cuda else "built without CUDA"
        yield Finding("torch", "ok", f"{torch.version}, {built}, sees {counted(torch.devices, 'CUDA device')}")
    yield fit(torch, driver, device_files())


def fit(torch: Torch | None, driver: Driver | None, devices: list[str]) -> Finding:
    """Returns the finding whether torch can use the cards of the machine, and what to do if it cannot."""
    if driver is None:
        if not devices:
            return Finding("driver", "ok", "no NVIDIA driver and no card: workers run on the CPU")
        detail = f"{', '.join(devices)} are present, but nvidia-smi is missing: install the driver's tools, which find the cards"
        return Finding("driver", "fault", detail)
    if driver.error is not None:
        mend = (
            "restart the machine, so that the driver and its library have the same version" if "mismatch" in driver.error else ""
        )
        return Finding("driver", "fault", f"nvidia-smi fails: {driver.error}; {mend or 'repair or reinstall the driver'}")
    versions = f"{driver.version}, {f'good for CUDA {driver.cuda}' if driver.cuda else 'without its CUDA library'}"
    return Finding("driver", "ok", versions) if torch is None or torch.devices else _blind(torch, driver, versions)


def _blind(torch: Torch, driver: Driver, versions: str) -> Finding:
    """Returns the finding why torch sees no card although the driver works."""
    if torch.cuda is None:
        return Finding(
            "driver", "fault", f"{versions}, but this torch is built without CUDA; install a CUDA build: {INSTALL_TORCH}"
        )
    if driver.cuda is None:
        mend = "install the driver's libcuda; in a container, set NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        return Finding("driver", "fault", f"{versions}: {mend}")
    if _major(driver.cuda) < _major(torch.cuda):
        detail = (
            f"{versions}, but torch is built for CUDA {torch.cuda}: update the driver, or install a torch that is "
            f"built for CUDA {_major(driver.cuda)} (see pytorch.org)"
        )
        return Finding("driver", "fault", detail)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return Finding("driver", "note", f"{versions}; CUDA_VISIBLE_DEVICES={hidden!r} hides the cards from torch")
    return Finding(
        "driver",
        "fault",
        f"{versions}, but torch sees no card: look for an Xid error in nvidia-smi and dmesg, then restart the machine",
    )


def cards() -> Iterator[Finding]:
    """Yields the finding with the devices; `binnacle up` starts a worker for each of them."""
    from app.embedded.devices import cuda_devices

    devices = cuda_devices()
    yield Finding("devices", "ok", ", ".join(devices) if devices else f"no GPU; one worker on the CPU ({os.cpu_count()} cores)")


def ask_driver() -> Driver | None:
    """Returns the answer of nvidia-smi; None when it is not installed."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        asked = subprocess.run([tool], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Driver(error=type(error).__name__)
    match = _HEADER.search(asked.stdout)
    if asked.returncode or match is None:
        said = (asked.stdout + asked.stderr).strip().splitlines()[:1] or [f"exit status {asked.returncode}"]
        return Driver(error=said[0])
    return Driver(match[1], match[2])


def device_files() -> list[str]:
    """Returns the device files of the cards that the kernel knows."""
    return sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))


def _major(version: str) -> int:
    return int(version.partition(".")[0])
