"""What a node says it can hold, before torch has looked at anything."""

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
def test_a_node_says_its_budget_and_in_which_dtype_it_loads(device: str, dtype: str, expected: str) -> None:
    found = capacity(Settings(device=device, dtype=dtype, model_budget_bytes=123))
    assert (found["budget"], found["dtype"]) == (123, expected)
    assert ("device_total" in found) == (device == "cpu"), "a card's memory is known once torch has looked"
