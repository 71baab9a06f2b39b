"""How the first tokens of rows are divided into passes: common beginnings once, few pads, few passes; and what a model then computes."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ml.tiny_models import BOS
from workers.lm.capture import reading
from workers.lm.interventions import Push
from workers.lm.model import LanguageModel
from workers.lm.prefilling import passes_of
from workers.lm.prefixes import PADDING, PASS_COST, Segment
from workers.lm.steered import SteeredRow, generate_steered

LAUNCH_COST = 2048  # tokens, about those of a model of 2B on a GPU
PREFIXES = st.lists(st.lists(st.integers(0, 2), max_size=200), min_size=1, max_size=40)
PROGRAMS = st.lists(st.integers(0, 3), min_size=40, max_size=40)


def widths(parts: Sequence[Sequence[Segment]]) -> list[list[int]]:
    return [[len(segment) for segment in part] for part in parts]


@given(PREFIXES, st.integers(100, 4000), st.sampled_from([0, PASS_COST, LAUNCH_COST]), PROGRAMS)
def test_every_token_is_in_one_pass_and_passes_keep_their_limits(
    prefixes: list[list[int]], most: int, pass_cost: int, programs: list[int]
) -> None:
    """What is computed by itself, each with the tokens before it, is no more than in the whole rows that memory is foretold for."""
    parts = passes_of(prefixes, most, pass_cost, programs)
    longest = max(map(len, prefixes))
    reached = [0] * len(prefixes)
    spare = pass_cost - int(PADDING * sum(len(segment) for part in parts for segment in part))
    for part in parts:
        width, start = len(part[0]), part[0].start
        for segment in part:
            assert segment.start == start
            for row in segment.rows:
                assert reached[row] == start, "what comes before a segment was computed in an earlier pass"
                assert prefixes[row][: segment.stop] == prefixes[segment.rows[0]][: segment.stop]
                reached[row] = segment.stop
        alone = sum(len({programs[row] for row in segment.rows}) for segment in part)
        assert alone * (start + width) <= max(1, most // max(1, longest)) * longest
        assert len(part) * width - sum(map(len, part)) <= max(PADDING * len(part) * width, spare)
    assert reached == [len(prefix) for prefix in prefixes]


def test_a_long_beginning_is_computed_once_for_all_rows_with_the_same_pushes() -> None:
    """1,100 of 1,150 tokens, which half fill a pass: once for twenty rows without pushes, twice where half of them are pushed."""
    prefixes = [[*range(1100), *[9000 + row] * 50] for row in range(20)]
    assert [(part[0].start, sum(map(len, part))) for part in passes_of(prefixes, 2048, PASS_COST)] == [
        (0, 1100),
        *[(1100, 50)] * 20,
    ]
    halves = passes_of(prefixes, 2048, PASS_COST, [row % 2 for row in range(20)])
    assert [part[0].rows for part in halves[:2]] == [tuple(range(0, 20, 2)), tuple(range(1, 20, 2))]
    assert len(halves) == 22


def test_rows_of_other_lengths_go_to_a_pass_of_their_own() -> None:
    prefixes = [[1] * 20, [2] * 60, [3] * 20, [4] * 60]
    assert widths(passes_of(prefixes, 2048, PASS_COST)) == [[60, 60], [20, 20]]


def test_pads_that_cost_less_than_a_pass_are_computed() -> None:
    """Two rows of 4 tokens take 8 pads beside one of 8: fewer than another pass costs."""
    prefixes = [[1] * 4, [2] * 8, [3] * 4]
    assert widths(passes_of(prefixes, 2048, PASS_COST)) == [[8, 4, 4]]
    assert widths(passes_of(prefixes, 2048, 0)) == [[8], [4, 4]]


def test_pads_of_a_large_batch_are_few() -> None:
    """They are 5 % at most where that is more than what another pass costs: here 980 tokens in passes of like lengths."""
    prefixes = [[row] * length for row, length in enumerate(range(5, 45))]
    computed = sum(len(part) * len(part[0]) for part in passes_of(prefixes, 2048, PASS_COST))
    assert 980 < computed <= 980 / (1 - PADDING)


def test_equal_rows_are_together_and_pad_once() -> None:
    """Ten equal rows of 35 tokens are computed as one, with 25 pads."""
    prefixes = [[1] * 60, *[[2] * 35] * 10]
    assert len(passes_of(prefixes, 2048, PASS_COST)) == 1
    assert passes_of([[1], [2], [1]], 2, PASS_COST) == [[Segment((0, 2), 0, 1), Segment((1,), 0, 1)]]
    assert passes_of([[1], [2], [1]], 2, PASS_COST, "aab") == [[Segment((0, 2), 0, 1)], [Segment((1,), 0, 1)]]


def test_a_gpu_takes_rows_of_other_lengths_in_one_pass() -> None:
    """There the launches of another pass cost more than these pads, or than a beginning that is computed for each of a few rows."""
    prefixes = [[1] * 20, [2] * 60, [3] * 20, [4] * 60]
    assert len(passes_of(prefixes, 8192, LAUNCH_COST)) == 1
    assert len(passes_of([[*range(50), 50 + row] for row in range(40)], 8192, LAUNCH_COST)) == 1
    assert len(passes_of([[*range(50), 50 + row] for row in range(140)], 8192, LAUNCH_COST)) == 2


@pytest.mark.parametrize("steered", [None, 0, 2])
def test_a_common_beginning_is_computed_once_up_to_the_pushed_layer(
    steered: int | None, tiny_lm: Callable[..., LanguageModel]
) -> None:
    """Six prompts share 24 of 29 to 34 tokens. Where three of them are steered, the beginning is computed twice above the pushed layer."""
    lm = replace(tiny_lm("llama"), eos_ids=frozenset())
    push = Push(steered or 0, "residual", torch.ones(lm.layout.hidden_size), 1.0)
    rows = [
        SteeredRow([BOS, *range(10, 33), *range(40 + row, 45 + 2 * row)], (push,) if steered is not None and row % 2 else ())
        for row in range(6)
    ]
    shapes: list[list[tuple[int, ...]]] = [[] for _ in range(lm.layout.n_layers)]
    with reading(lm, {"attn_out": lambda layer, _component, h_BTD: shapes[layer].append(tuple(h_BTD.shape[:2]))}):
        generate_steered(lm, rows, max_new_tokens=2, batch_rows=6)
    once, twice = [[(beginnings, 24), (6, 9), (6, 1), (6, 1)] for beginnings in (1, 2)]
    pushed = lm.layout.n_layers if steered is None else steered + 1
    assert shapes == [once] * pushed + [twice] * (lm.layout.n_layers - pushed)
