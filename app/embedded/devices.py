"""Lists the CUDA devices of this machine by UUID with nvidia-smi, without loading torch."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping

_GPU = re.compile(r"^GPU \d+: .*\(UUID: (GPU-[0-9a-f-]+)\)")
_MIG = re.compile(r"^\s+MIG .*\(UUID: (MIG-[^)\s]+)\)")


def cuda_devices(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Returns the values of CUDA_VISIBLE_DEVICES, one for each worker; empty without a usable GPU.

    An existing CUDA_VISIBLE_DEVICES is the administrator's choice and is kept: its entries up to the first negative one, as CUDA reads it.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        entries = [entry.strip() for entry in chosen.split(",")]
        stop = next((i for i, entry in enumerate(entries) if not entry or entry.startswith("-")), len(entries))
        return entries[:stop] if _ask_driver() else []
    return parse_list(_ask_driver())


def parse_list(text: str) -> list[str]:
    """Returns the UUIDs in the output of `nvidia-smi -L`; a GPU that is split is replaced by its MIG instances."""
    devices: list[str] = []
    whole = None
    for line in text.splitlines():
        if match := _GPU.match(line):
            whole = match.group(1)
            devices.append(whole)
        elif match := _MIG.match(line):
            if whole in devices:
                devices.remove(whole)
            devices.append(match.group(1))
    return devices


def _ask_driver() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        asked = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout if asked.returncode == 0 else ""
