"""The peak of this process's resident memory over a stretch of code, by the kernel's own counter (Linux)."""

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path


def peak_growth_bytes(work: Callable[[], object]) -> int:
    """How far resident memory rose above its level at the start while `work` ran.

    Memory that earlier work freed is first returned to the system; otherwise `work` would reuse it and seem to need less.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets the peak to the present size
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
