"""Measures the peak memory of one attempt: the device's on CUDA, this process's resident set on a CPU."""

import contextlib
import re
import sys
from pathlib import Path


class PeakMemory:
    """Peak memory since the object was made."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._device = device
        if self._cuda:
            if "torch" in sys.modules:
                import torch  # another thread may be importing it (workers/warm.py); this waits for its end

                torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError):  # if the reset fails, the peak counts from the process's start
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM

    def peak(self) -> int:
        """The peak in bytes."""
        if self._cuda:
            if "torch" not in sys.modules:
                return 0
            import torch

            return int(torch.cuda.max_memory_allocated(self._device))
        status = Path("/proc/self/status").read_text(encoding="ascii")
        match = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(match[1]) * 1024 if match else 0
