"""The memory and dtype that a node reports before torch is imported."""

import subprocess
import sys

import pytest

from app.settings import Settings
from workers.capacity import capacity


@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        ("cpu", "auto", "float32"),
        ("cuda:0", "auto", "bfloat16"),
        ("cuda:0", "float16", "float16"),
        ("cpu", "bfloat16", "bfloat16"),
    ],
)
def test_a_node_reports_its_budget_and_the_dtype_in_which_it_loads(device: str, dtype: str, expected: str) -> None:
    found = capacity(Settings(device=device, dtype=dtype, model_budget_bytes=123))
    assert (found["budget"], found["dtype"]) == (123, expected)
    assert ("device_total" in found) == (device == "cpu"), "the memory of a GPU is known only once torch is imported"


def test_a_node_reports_it_without_torch() -> None:
    """A node starts before its child imports torch, which takes seconds and memory."""
    code = "import sys; from app.settings import Settings; from workers.capacity import capacity; capacity(Settings(device='cuda:0')); "
    subprocess.run([sys.executable, "-c", f"{code} sys.exit('torch' in sys.modules)"], check=True)
