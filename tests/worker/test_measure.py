"""Measuring the peak memory of a job waits for an import of torch in another thread of the process."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTING = """
import sys, threading, time
from workers.measure import PeakMemory

threading.Thread(target=lambda: __import__("torch"), daemon=True).start()
while "torch" not in sys.modules:
    time.sleep(0.001)
assert not hasattr(sys.modules["torch"], "cuda"), "torch was imported before it could be looked at"
try:
    PeakMemory("cuda:0")
except Exception as error:
    assert "_cuda_resetPeakMemoryStats" in str(error), error  # without a GPU, torch's own error
assert sys.modules["torch"].cuda
"""


def test_measuring_memory_waits_until_torch_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTING], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
