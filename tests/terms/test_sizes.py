"""Sizes are written in the unit that people read."""

import pytest

from binnacle.words.sizes import bytes_in_words


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 bytes"),
        (38_654, "37.75 KiB"),
        (4_015_680, "3.83 MiB"),
        (110_000_000, "0.10 GiB"),
        (2**30, "1.00 GiB"),
        (3_092_376_453, "2.88 GiB"),
        (5 << 40, "5,120.00 GiB"),
    ],
)
def test_sizes_are_written_in_a_unit_in_which_they_are_not_tiny(size: int, said: str) -> None:
    assert bytes_in_words(size) == said
