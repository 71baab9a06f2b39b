"""The massive part of a vector is called signal, inert, noise or unclear: on answers and activations made so that the right call is known."""

import numpy as np
import pytest

from tests.ml.simulated_scores import labels
from workers.science.decomposition import massive_part, sampling_share
from workers.science.intervals import Interval, paired_interval
from workers.science.separation import noise

NAMES = labels(36, 2)
# The class difference in the massive dim 443: one that sampling does not explain, and one that it explains wholly.
REAL = {"443": {"delta": 30.0, "z": 12.0, "noise_share": 1 / 144}}
CHANCE = {"443": {"delta": -5.5, "z": -0.64, "noise_share": 1.0}}


def nothing() -> Interval:
    """The gain of an arm that changed no answer."""
    found = paired_interval(np.zeros(72), NAMES)
    assert found is not None
    return found


def gain(share: float) -> Interval:
    """The gain of an arm that made this share of answers show the trait, spread over the clusters."""
    found = paired_interval(np.where(np.arange(72) * 7 % 72 < 72 * share, 90.0, 0.0), NAMES)
    assert found is not None
    return found


def test_a_class_of_one_row_leaves_the_massive_part_unclear() -> None:
    """One row has no variance, so that no difference of one row a class is known to be real."""
    for rows in ([[10.0], [0.0]], [[10.0], [0.0], [30.0], [-20.0]]):
        measured = noise(np.array(rows), np.arange(len(rows)) == 0)
        assert measured.of(0) == {"delta": pytest.approx(10 - np.mean(rows[1:])), "z": None, "noise_share": None}
        assert measured.share([]) is None
        assert massive_part(nothing(), nothing(), {"0": measured.of(0)}) == "unclear"


def test_a_part_that_steers_alone_is_signal_whatever_its_z() -> None:
    assert massive_part(gain(0.4), nothing(), REAL) == "signal"
    assert massive_part(gain(0.4), nothing(), CHANCE) == "signal"


def test_a_part_that_steers_only_together_with_the_clean_part_is_signal_too() -> None:
    assert massive_part(nothing(), gain(0.3), REAL) == "signal"


def test_a_part_that_suppresses_the_trait_is_signal() -> None:
    minus = gain(0.4)
    assert massive_part(Interval(-minus.high, -minus.low, "bca", 72, 36), nothing(), REAL) == "signal"


def test_a_real_difference_of_the_classes_that_moves_nothing_is_inert() -> None:
    assert massive_part(nothing(), nothing(), REAL) == "inert"


def test_a_difference_that_sampling_explains_is_noise() -> None:
    assert massive_part(nothing(), nothing(), CHANCE) == "noise"


def test_a_small_gain_with_a_wide_interval_is_unclear() -> None:
    """The interval is not above 5, which would be signal, nor within 10, which would be none: it reaches from below 5 to above 10."""
    some = gain(0.06)
    assert some.low < 5
    assert some.high > 10
    assert massive_part(some, nothing(), REAL) == "unclear"


def test_without_twenty_clusters_or_without_a_measured_difference_it_is_unclear() -> None:
    assert massive_part(None, nothing(), REAL) == "unclear"
    assert massive_part(nothing(), None, REAL) == "unclear"
    assert massive_part(nothing(), nothing(), {}) == "unclear"
    assert massive_part(nothing(), nothing(), {"3": {"delta": 0.0, "z": None, "noise_share": None}}) == "unclear"


def test_a_dim_counts_by_its_share_of_the_squared_difference() -> None:
    """One huge dim of pure noise and a small one with z = 10: the part is noise, though one z is large."""
    mixed = {"443": {"delta": 100.0, "noise_share": 0.8}, "7": {"delta": 2.0, "noise_share": 0.01}}
    assert sampling_share(mixed) == pytest.approx((0.8 * 100**2 + 0.01 * 4) / (100**2 + 4))
    assert massive_part(nothing(), nothing(), mixed) == "noise"


def test_a_dim_of_noise_counts_with_its_whole_error() -> None:
    """Differences of 10 and 1 with squared errors of 5 and 50: sampling gives 55 of 101, though the second dim's own share ends at 1."""
    positive = np.array([[10 + np.sqrt(10), 1 + 10.0], [10 - np.sqrt(10), 1 - 10.0], [10.0, 1.0]])
    rows = np.vstack([positive, np.zeros((3, 2))])
    measured = noise(rows, np.arange(6) < 3)
    errors = positive.var(0, ddof=1) / 3
    per_dim = {str(dim): measured.of(dim) for dim in range(2)}
    assert per_dim["1"]["noise_share"] == 1.0
    assert sampling_share(per_dim) == pytest.approx(errors.sum() / (10**2 + 1**2))
    assert massive_part(nothing(), nothing(), per_dim) == "noise"


def test_one_dim_is_inert_from_three_standard_errors_on() -> None:
    for z, part in ((2.9, "noise"), (3.1, "inert")):
        assert massive_part(nothing(), nothing(), {"443": {"delta": 4.0, "z": z, "noise_share": 1 / z**2}}) == part


def test_classes_drawn_with_and_without_a_difference_are_told_apart() -> None:
    """200 draws of 40 + 40 activations of sd 50 each: a difference of 0 is called real in P(|z| > 3) = 0.3 % or so, one of 60 in nearly all."""
    rng = np.random.default_rng(0)
    called = {0.0: 0, 60.0: 0}
    for shift in called:
        for _ in range(200):
            positive, negative = rng.normal(shift, 50, 40), rng.normal(0, 50, 40)
            delta = positive.mean() - negative.mean()
            error = positive.var(ddof=1) / 40 + negative.var(ddof=1) / 40
            per_dim = {"443": {"delta": delta, "noise_share": min(1.0, error / delta**2)}}
            called[shift] += massive_part(nothing(), nothing(), per_dim) == "inert"
    assert called[0.0] <= 4
    assert called[60.0] >= 190
