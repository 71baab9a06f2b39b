"""How the first tokens of rows are divided into passes: few pads, few passes, equal rows together. Needs no model."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from workers.lm.prefilling import LAUNCH_COST, PADDING, passes_of
from workers.lm.prefixes import PASS_COST

PREFIXES = st.lists(st.lists(st.integers(0, 2), max_size=200), min_size=1, max_size=40)


def lengths(parts: list[list[int]], prefixes: Sequence[Sequence[int]]) -> list[list[int]]:
    return [[len(prefixes[row]) for row in part] for part in parts]


@given(PREFIXES, st.integers(200, 4000))
def test_every_row_is_in_one_pass_and_passes_keep_their_limits(prefixes: list[list[int]], most: int) -> None:
    parts = passes_of(prefixes, most, PASS_COST)
    assert sorted(row for part in parts for row in part) == list(range(len(prefixes)))
    for part in parts:
        width = max(len(prefixes[row]) for row in part)
        distinct = {tuple(prefixes[row]) for row in part}
        computed = len(distinct) * width
        assert len(part) * width <= most
        assert computed - sum(map(len, distinct)) <= max(PADDING * computed, PASS_COST)


def test_rows_of_other_lengths_go_to_a_pass_of_their_own() -> None:
    prefixes = [[1] * 20, [2] * 60, [3] * 20, [4] * 60]
    assert lengths(passes_of(prefixes, 2048, PASS_COST), prefixes) == [[60, 60], [20, 20]]


def test_pads_that_cost_less_than_a_pass_are_computed() -> None:
    """Two rows of 4 tokens take 8 pads beside one of 8: fewer than another pass costs."""
    prefixes = [[1] * 4, [2] * 8, [3] * 4]
    assert lengths(passes_of(prefixes, 2048, PASS_COST), prefixes) == [[8, 4, 4]]
    assert lengths(passes_of(prefixes, 2048, 0), prefixes) == [[8], [4, 4]]


def test_equal_rows_are_together_and_pad_once() -> None:
    """Ten equal rows of 30 tokens are computed as one, with 30 pads."""
    prefixes = [[1] * 60, *[[2] * 30] * 10]
    assert len(passes_of(prefixes, 2048, PASS_COST)) == 1
    assert passes_of([[1], [2], [1]], 2, PASS_COST) == [[0, 2], [1]]


def test_a_gpu_takes_rows_of_other_lengths_in_one_pass() -> None:
    """There the launches of another pass cost more than these pads."""
    prefixes = [[1] * 20, [2] * 60, [3] * 20, [4] * 60]
    assert len(passes_of(prefixes, 8192, LAUNCH_COST)) == 1
