"""The rules for massive dims, the verdict and the scope, tested by properties (signs, scale, order) and on small tables by hand."""

from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.science.aggregate import aggregate, needed_dims
from workers.science.errors import DegenerateActivations
from workers.science.massive import by_median_ratio, dominant_dim, massive_dims, ratio_to_median, top_dims
from workers.science.residual import TokenSpan, norm_sum, read_layer
from workers.science.severity import middle_rows, severity
from workers.science.statistics import PromptReading, RunningStatistics, Statistics
from workers.science.tokenvalues import TokenValues

RULES = ("peeling", "peel:0.3", "ratio10-3layers", "top5-3layers", "all", "sun", "ratio:3")
SPAN = TokenSpan(prompt_tokens=3, response_tokens=5, delimiter=4)


def streams(seed: int, layers: int = 4, width: int = 12) -> list[list[torch.Tensor]]:
    """Three prompts' residual streams, [8, width] each, float32; dims 2 and 7 large by a factor drawn from 1 to 2000."""
    rng = torch.Generator().manual_seed(seed)
    factor = 10 ** (3.3 * torch.rand(2, generator=rng))
    found = []
    for _ in range(3):
        h_LTD = torch.randn(layers, 8, width, generator=rng) + 0.5
        h_LTD[:, :, [2, 7]] *= factor
        found.append(list(h_LTD))
    return found


def whole(prompts: list[list[torch.Tensor]], rule: str) -> tuple[Statistics, dict[str, Any]]:
    """Statistics and aggregate of the given streams."""
    n_layers, width = len(prompts[0]), prompts[0][0].shape[1]
    running = RunningStatistics(range(n_layers), n_layers, width, torch.device("cpu"))
    with closing(TokenValues(n_layers)) as tokens:
        for prompt in prompts:
            layers = [read_layer(h_TD, SPAN) for h_TD in prompt]
            norms = [norm_sum(h_TD, SPAN) for h_TD in prompt]
            running.add(PromptReading(SPAN, layers, norms, norms))
            dims = [torch.arange(width)] * n_layers
            tokens.add_prompt([layer.norm_square for layer in layers], dims, [h_TD[3:].abs() for h_TD in prompt])
        stats = running.result()
        assert not tokens.missing(needed_dims(stats, rule))
        return stats, aggregate(stats, tokens, rule)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rule=st.sampled_from(RULES),
    flips=st.lists(st.sampled_from((-1.0, 1.0)), min_size=12, max_size=12),
)
def test_flipping_the_sign_of_any_dims_changes_nothing(seed: int, rule: str, flips: list[float]) -> None:
    prompts = streams(seed)
    _, before = whole(prompts, rule)
    _, after = whole([[h_TD * torch.tensor(flips) for h_TD in prompt] for prompt in prompts], rule)
    assert after == before


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), rule=st.sampled_from([rule for rule in RULES if rule != "sun"]), power=st.integers(-6, 6))
def test_scaling_all_activations_leaves_every_ratio_and_list_and_scales_the_norms(seed: int, rule: str, power: int) -> None:
    """By a power of two, which float32 scales exactly. Not `sun`: it has an absolute threshold."""
    prompts = streams(seed)
    scale = 2.0**power
    stats, before = whole(prompts, rule)
    scaled, after = whole([[h_TD * scale for h_TD in prompt] for prompt in prompts], rule)
    for name in (
        "top_dims_by_layer",
        "dim_magnitude_by_layer",
        "per_layer",
        "massive_dims",
        "massive_by_layer",
        "norm_share",
        "emergence",
        "margin",
        "severity",
        "mean_alignment_by_layer",
    ):
        assert after[name] == before[name], name
    np.testing.assert_allclose(scaled.norm, stats.norm * scale, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), low=st.floats(1, 50), high=st.floats(50, 2000))
def test_a_higher_threshold_lists_a_prefix_of_what_a_lower_one_lists(seed: int, low: float, high: float) -> None:
    """All lists are in one order; `ratio10-3layers` is ratio:10."""
    stats, _ = whole(streams(seed), "peeling")
    of_low, of_high = massive_dims(stats, f"ratio:{low:.3f}"), massive_dims(stats, f"ratio:{high:.3f}")
    assert set(of_high) <= set(of_low)
    assert massive_dims(stats, "ratio:10") == massive_dims(stats, "ratio10-3layers")
    ranks = [by_median_ratio(stats).index(dim) for dim in of_low]
    assert ranks == sorted(ranks)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.permutations(range(12)))
def test_reordering_dims_reorders_the_answer(seed: int, order: list[int]) -> None:
    stats, _ = whole(streams(seed), "peeling")
    moved, _ = whole([[h_TD[:, order] for h_TD in prompt] for prompt in streams(seed)], "peeling")
    assert [order[dim] for dim in massive_dims(moved)] == massive_dims(stats)
    assert order[dominant_dim(moved)] == dominant_dim(stats)


def by_hand(ratios_LD: list[list[float]], *, model_layers: int | None = None, located: int = 0) -> Statistics:
    """Statistics of 10 prompts in which signed mean and ratio_to_median are `ratios_LD` (each row's median must be 1); dim 0 of the first
    layer is located in `located` of the prompts."""
    table = np.array(ratios_LD)
    zeros = np.zeros_like(table)
    count = np.zeros(table.shape, dtype=np.int64)
    marked = count.copy()
    marked[0, 0] = located
    row = np.ones(len(table))
    return Statistics(
        layers=tuple(range(len(table))),
        model_layers=model_layers or len(table),
        prompts=10,
        prompt_tokens=30,
        response_tokens=50,
        mean=table,
        mean_abs=table,
        mean_square=table**2,
        norm=row,
        attn_norm=row,
        mlp_norm=row,
        alignment=row,
        max_to_median=zeros,
        max_to_entry=zeros,
        largest=zeros,
        located=marked,
        sun=count,
        at_first=count,
        at_delimiter=count,
    )


def test_a_dim_at_a_layer_by_hand() -> None:
    """All other dims are 1, so the baseline is 1; the five response tokens have mean size 16 and squared deviations of 320.5 in all."""
    h_TD = torch.ones(8, 6)
    h_TD[3:, 0] = torch.tensor([9.5, -10.0, 10.5, 20.0, -30.0])
    _, found = whole([[h_TD]], "peeling")
    assert found["per_layer"]["0"]["0"] == {"ratio": 16.0, "cv": 0.5, "p5_ratio": 9.6, "pct_above_10x": 60.0}
    assert found["clean_norms"] == {"0": 2.236}  # of five ones
    assert found["layer_norms"] == {"0": round(float(np.mean(np.sqrt(5 + np.array([9.5, 10, 10.5, 20, 30]) ** 2))), 1)}


def test_the_ratio_rule_needs_ten_at_three_layers_and_ties_go_by_index() -> None:
    stats = by_hand([[10, 10, 10, 1, 1, 1, 1], [10, 10, 9.9, 1, 1, 1, 1], [10, 10, 10, 1, 1, 1, 1], [1, 10, 1, 1, 1, 1, 1]])
    assert massive_dims(stats, "ratio10-3layers") == [0, 1]
    assert massive_dims(stats, "ratio:9.9") == [0, 1, 2]


def test_with_two_captured_layers_two_are_enough() -> None:
    assert massive_dims(by_hand([[20, 1, 1, 20], [1, 1, 1, 20]])) == [3]


def test_top_five_rules_always_list_dims_massive_or_not() -> None:
    plain = by_hand([[1.5, 1.4, 1.3, 1.2, 1.1, 1, 1, 0.9, 0.8, 0.7, 0.6, 1.0]] * 3)
    assert massive_dims(plain) == []
    assert massive_dims(plain, "top5-3layers") == [0, 1, 2, 3, 4]
    one_differs = replace(plain, mean=np.vstack([plain.mean[:2], plain.mean[2][::-1]]))
    assert top_dims(one_differs)[2] == [11, 10, 9, 8, 7]
    assert massive_dims(one_differs, "top5-3layers") == []
    assert set(massive_dims(one_differs, "all")) == {0, 1, 2, 3, 4, 7, 8, 9, 10, 11}


@pytest.mark.parametrize(("ratio", "verdict"), [(9.99, "none"), (10.0, "mild"), (99.9, "mild"), (100.0, "severe")])
def test_the_verdict_is_by_the_dominant_dim_s_median_ratio_over_the_middle_half(ratio: float, verdict: str) -> None:
    """Layers 2 to 5 of 8 count. The median of their four ratios is the lower of the two in the middle."""
    rows = (
        [[500.0, 1, 1, 1]] * 2 + [[1.0, 1, 1, 1], [ratio, 1, 1, 1], [500.0, 1, 1, 1], [500.0, 1, 1, 1]] + [[500.0, 1, 1, 1]] * 2
    )
    found = severity(by_hand(rows), [0.0] * 4)
    assert found["layers"] == [2, 3, 4, 5]
    assert (found["ratios"]["ratio_to_median"], found["verdict"]) == (ratio, verdict)


@pytest.mark.parametrize(
    ("pct", "located", "scope"), [(90.0, 0, "every_token"), (89.9, 0, "none"), (89.9, 1, "token_local"), (0.0, 1, "token_local")]
)
def test_the_scope_follows_the_share_of_tokens_then_the_location(pct: float, located: int, scope: str) -> None:
    """`located` of 10 prompts: one is the 10 % that makes a location."""
    assert severity(by_hand([[5.0, 1, 1, 1]], located=located), [pct])["scope"] == scope


@pytest.mark.parametrize(
    ("layers", "total", "rows"),
    [((0, 1), 2, [0, 1]), ((0, 1, 2, 3, 4), 5, [1, 2, 3]), ((0, 9), 10, [0, 1]), ((0, 3, 9), 10, [1])],
)
def test_the_verdict_reads_the_captured_layers_of_the_middle_half_or_all_if_there_are_none(
    layers: tuple[int, ...], total: int, rows: list[int]
) -> None:
    stats = by_hand([[1.0, 1, 1]] * len(layers), model_layers=total)
    assert middle_rows(replace(stats, layers=layers)) == rows


def test_an_unknown_rule_and_a_layer_of_zeros_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no rule 'largest'"):
        massive_dims(by_hand([[1.0, 1, 1]]), "largest")
    with pytest.raises(DegenerateActivations, match="layer 1"):
        ratio_to_median(by_hand([[1.0, 1, 1], [0.0, 0, 7]]))
