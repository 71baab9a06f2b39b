"""Simultaneous intervals of several contrasts, and the smallest difference that an experiment would detect."""

import numpy as np
import pytest
from scipy.stats import t as student

from tests.ml.simulated_scores import labels
from workers.science.contrasts import simultaneous, simultaneous_level, smallest_detectable
from workers.science.intervals import paired_interval

NAMES = labels(40, 2)


def gaps(count: int, seed: int = 0) -> list[np.ndarray]:
    """`count` independent contrasts: the paired differences of each over 80 questions."""
    return list(np.random.default_rng(seed).normal(5, 20, (count, 80)))


def test_one_contrast_is_its_own_interval() -> None:
    (only,) = gaps(1)
    assert simultaneous({"a": only}, NAMES) == {"a": paired_interval(only, NAMES)}


def test_equal_contrasts_cost_nothing_and_independent_ones_nearly_bonferroni() -> None:
    """Five copies of one contrast keep the level of 95 %; five independent contrasts need nearly the 99 % of Bonferroni."""
    (only,) = gaps(1)
    assert simultaneous_level([only] * 5, NAMES) == pytest.approx(0.95, abs=0.004)
    apart = simultaneous_level(gaps(5), NAMES)
    assert 0.985 < apart <= 0.99


def test_the_level_of_two_contrasts_is_the_bivariate_t_s() -> None:
    """Correlation 0.5, 39 degrees of freedom: the expected level comes from 400,000 draws of two such t variables."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 400_000)) / np.sqrt(rng.chisquare(39, 400_000) / 39)
    largest = np.maximum(abs(first), abs(0.5 * first + np.sqrt(0.75) * second))
    expected = 1 - 2 * float(student.sf(np.quantile(largest, 0.95), 39))
    base = rng.standard_normal((2, 40))
    base -= base.mean(1, keepdims=True)
    base[1] -= base[0] * (base[0] @ base[1]) / (base[0] @ base[0])
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    one, other = base[0], 0.5 * base[0] + np.sqrt(0.75) * base[1]
    found = simultaneous_level([np.repeat(one, 2), np.repeat(other, 2)], NAMES)
    assert found == pytest.approx(expected, abs=0.002)


def test_a_contrast_without_any_change_keeps_its_exact_interval_at_a_stricter_level() -> None:
    still = np.zeros(80)
    found = simultaneous({"still": still, "a": gaps(1)[0]}, NAMES)
    alone = paired_interval(still, NAMES)
    assert found["still"] is not None
    assert alone is not None
    assert found["still"].method == "exact"
    assert found["still"].high > alone.high


def test_too_few_clusters_have_no_contrast_and_the_order_of_names_is_kept() -> None:
    assert simultaneous({"b": np.ones(10), "a": np.zeros(10)}, labels(10, 1)) == {"b": None, "a": None}
    assert list(simultaneous({"b": gaps(1)[0], "a": gaps(2)[1]}, NAMES)) == ["b", "a"]


def test_questions_missing_in_one_contrast_stay_in_the_others() -> None:
    first, second = gaps(2)
    first[3] = np.nan
    found = simultaneous({"first": first, "second": second}, NAMES)
    assert (found["first"].questions, found["second"].questions) == (79, 80)  # type: ignore[union-attr]


def test_the_smallest_detectable_difference_is_detected_four_times_in_five() -> None:
    """600 simulations at exactly that difference: 80 % of the intervals, give or take 5 %, exclude 0."""
    rng, names = np.random.default_rng(0), labels(40, 1)
    typical = smallest_detectable(25 * student.ppf((np.arange(40) + 0.5) / 40, 1e6), names)
    assert typical is not None
    found = [
        paired_interval(np.clip(typical + 25 * rng.standard_normal(40), -100, 100), names, resamples=800) for _ in range(600)
    ]
    assert np.mean([one is not None and one.excludes_zero() for one in found]) == pytest.approx(0.8, abs=0.05)


def test_scores_without_any_change_have_a_smallest_detectable_difference() -> None:
    """A standard error of 0 would mean that any difference is detected."""
    found = smallest_detectable(np.zeros(60), labels(60, 1))
    assert found is not None
    assert 4 < found < 10
    assert smallest_detectable(np.full(80, np.nan), NAMES) is None
    assert smallest_detectable(gaps(1)[0], ["one"] * 80) is None


def test_rounding_errors_do_not_count_as_spread() -> None:
    """The mean of 72 times 0.1 is not exactly 0.1, so six constant contrasts once looked like one that varies."""
    moving = np.random.default_rng(0).normal(size=72)
    levels = [simultaneous_level([moving, *[np.full(72, value)] * 6], labels(36, 2)) for value in (0.5, 0.1)]
    assert levels[0] == levels[1]
