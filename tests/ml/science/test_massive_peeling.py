"""Peeling, the default rule for massive dims: the dims it lists, the layers at which each counts, the margins, and emergence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.ml.science.test_calibration_rules import by_hand, streams, whole
from workers.science.aggregate import emergence
from workers.science.massive import margins, massive_by_layer, massive_dims, peeled
from workers.science.severity import severity
from workers.science.statistics import Statistics

WIDTH = 2560


def stream(*planted: tuple[int, float], layers: int = 6, width: int = WIDTH) -> Statistics:
    """Half-normal sizes with median 1 at every layer, as in a wide model's stream; `planted` are (dim, multiple of the median)."""
    size_LD = np.abs(np.random.default_rng(0).normal(size=(layers, width))) / 0.6745
    for dim, times in planted:
        size_LD[:, dim] = times
    size_LD /= np.sort(size_LD, axis=1)[:, (width - 1) // 2][:, None]
    return by_hand(size_LD.tolist())


def test_a_second_massive_dim_does_not_hide_behind_the_first() -> None:
    """At d = 2560 a 60x dim beside a 1000x one holds 0.35 % of the whole squared norm, and 38 % of what is left."""
    stats = stream((443, 1000.0), (7, 60.0))
    share_L = stats.mean_square[:, 7] / stats.mean_square.sum(axis=1)
    assert share_L.max() < 0.01
    assert massive_dims(stats) == [443, 7]
    assert massive_by_layer(stats) == [[443, 7]] * 6


def test_one_planted_dim_is_listed_alone() -> None:
    assert massive_dims(stream((443, 1000.0))) == [443]


def test_without_a_planted_dim_the_list_is_empty_and_the_verdict_none() -> None:
    stats = stream()
    assert massive_dims(stats) == []
    found = severity(stats, [0.0] * 6)
    assert (found["verdict"], found["scope"]) == ("none", "none")


def heavy_tailed(*planted: tuple[int, float]) -> Statistics:
    """Three first layers in which 60 dims of 640 exceed the median 12 to 40 times: the ratio alone lists them."""
    stats = stream(*planted, layers=12, width=640)
    tail = np.linspace(12.0, 40.0, 60)
    table = stats.mean_abs.copy()
    table[:3, 100:160] = tail
    return replace(stats, mean=table, mean_abs=table, mean_square=table**2)


@pytest.mark.parametrize("planted", [(), ((163, 200.0),)])
def test_heavy_tailed_first_layers_add_nothing(planted: tuple[tuple[int, float], ...]) -> None:
    stats = heavy_tailed(*planted)
    own = [dim for dim, _ in planted]
    assert len(massive_dims(stats, "ratio10-3layers")) == 60 + len(own)
    assert massive_dims(stats) == own
    assert severity(stats, [0.0] * 6)["verdict"] == ("severe" if own else "none")


def test_large_ratios_without_a_share_of_the_norm_give_the_verdict_none() -> None:
    """Sixty dims at 12 to 40 times the median at every layer: none has a tenth of the squared norm, so none is massive."""
    stats = heavy_tailed()
    table = np.repeat(stats.mean_abs[:1], 12, axis=0)
    stats = replace(stats, mean=table, mean_abs=table, mean_square=table**2)
    found = severity(stats, [100.0] * 6)
    assert found["ratios"]["ratio_to_median"] > 10
    assert (massive_dims(stats), found["verdict"]) == ([], "none")


def test_a_listed_dim_counts_only_at_the_layers_where_it_is_ten_times_the_median() -> None:
    rows = [[1.0, 50.0, 1, 1, 1, 1, 1]] * 3 + [[80.0, 9.9, 1, 1, 1, 1, 1]] * 3
    stats = by_hand(rows)
    assert massive_dims(stats) == [1, 0]  # by the median ratio over layers: 9.9 and 1
    assert massive_by_layer(stats) == [[1]] * 3 + [[0]] * 3
    assert massive_by_layer(stats, "ratio10-3layers") == [[1, 0]] * 6


def test_a_dim_is_listed_exactly_where_its_margin_is_one() -> None:
    for seed in range(30):
        stats, found = whole(streams(seed), "peeling")
        above = {dim for dim, margin in enumerate(margins(stats)) if margin >= 1}
        assert above == set(massive_dims(stats))
        assert {int(dim) for dim, margin in found["margin"].items() if margin >= 1} == above
        assert len(found["margin"]) == len(above) + min(5, 12 - len(above))


def test_a_dim_smaller_than_the_one_that_stops_the_peeling_is_not_listed() -> None:
    """Dim 0 is large at few tokens only: most of the squared norm but 5 times the median. Peeling stops there, though dim 1 passes both
    thresholds."""
    stats = by_hand([[5.0, 30.0, 1, 1, 1, 1, 1]] * 3)
    square = stats.mean_square.copy()
    square[:, 0] = 4000.0
    stats = replace(stats, mean_square=square)
    assert not peeled(stats).taken_LD.any()
    assert margins(stats)[1] == margins(stats)[0] == 0.5


def test_emergence_names_the_layers_where_the_dominant_dim_begins_stays_and_falls() -> None:
    stats = by_hand([[ratio, 1, 1, 1, 1] for ratio in (3.0, 40.0, 90.0, 80.0, 46.0, 44.0, 2.0)])
    assert emergence(stats, 0) == {"first": 2, "plateau": [2, 3, 4], "falls": 5}
    stats = by_hand([[ratio, 1, 1, 1, 1] for ratio in (3.0, 50.0, 90.0)])
    assert emergence(stats, 0) == {"first": 1, "plateau": [1, 2], "falls": None}


def test_the_clean_norm_of_a_layer_leaves_out_that_layer_s_dims_alone() -> None:
    """Dim 0 is massive in the first three layers; in the fourth it is ordinary, and the clean norm, the unit of a dose, includes it."""
    torch.manual_seed(0)
    h_LTD = torch.randn(4, 8, 12)
    h_LTD[:3, :, 0] = 400.0
    h_LTD[3, :, 0] = 3.0
    _, found = whole([list(h_LTD)], "peeling")
    assert found["massive_by_layer"] == {"0": [0], "1": [0], "2": [0], "3": []}
    for layer, h_TD in enumerate(h_LTD):
        kept = h_TD[3:, 1:] if layer < 3 else h_TD[3:]
        assert found["clean_norms"][str(layer)] == pytest.approx(float(kept.norm(dim=1).median()), rel=1e-3)
