"""Sizes are written in GiB."""

import pytest

from binnacle.words.sizes import gib


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0.00 GiB"), (4_015_680, "0.0037 GiB"), (2**30, "1.00 GiB"), (3_092_376_453, "2.88 GiB"), (5 << 40, "5,120.00 GiB")],
)
def test_sizes_are_written_in_gib_and_small_ones_are_not_rounded_to_zero(size: int, said: str) -> None:
    assert gib(size) == said
