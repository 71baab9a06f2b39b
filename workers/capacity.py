"""Reports how much memory a worker could use for models, before any model is loaded. Imports no torch."""

import os
from pathlib import Path

from app.settings import Settings

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def capacity(settings: Settings) -> dict[str, int | str]:
    """The bytes that the worker's models may take together (`budget`), the dtype in which it loads them, and on a CPU the memory of the host, or
    of the worker's control group. A GPU's memory is known only after torch has queried it (`Shelf.memory`)."""
    known: dict[str, int | str] = {"budget": settings.model_budget_bytes, "dtype": settings.weights_dtype}
    return known if settings.device.startswith("cuda") else known | {"device_total": host_bytes()}


def host_bytes(cgroup_limit: Path = CGROUP_LIMIT) -> int:
    """The machine's memory in bytes, or the control group's limit where that is lower."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = cgroup_limit.read_text(encoding="ascii").strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine
