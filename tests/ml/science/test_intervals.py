"""Confidence intervals over clusters against formulas by hand, brute force and known limits (their coverage: test_intervals_coverage.py)."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, skewnorm
from scipy.stats import t as student

from tests.ml.simulated_scores import differences, labels
from workers.science.clusters import Clustering, resample_counts
from workers.science.exact import mid_p_limits
from workers.science.intervals import FEWEST_CLUSTERS, Interval, mean_interval, paired_interval, standard_error, two_level

PAIRS = labels(30, 2)


def interval(values: np.ndarray, names: list[str], **options: object) -> Interval:
    found = paired_interval(values, names, **options)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_nineteen_clusters_have_no_interval_however_many_questions() -> None:
    rng = np.random.default_rng(0)
    assert FEWEST_CLUSTERS == 20
    assert paired_interval(rng.normal(0, 10, 190), labels(19, 10)) is None
    assert paired_interval(rng.normal(0, 10, 20), labels(20, 1)) is not None
    assert mean_interval(rng.uniform(0, 100, 5), labels(5, 1)) is None


def test_questions_without_a_score_are_left_out_and_counted_and_can_cost_the_interval() -> None:
    values = np.random.default_rng(0).normal(10, 20, 60)
    values[[0, 1, 5]] = np.nan  # one whole cluster and one question more
    names = PAIRS
    found = interval(values, names)
    kept = ~np.isnan(values)
    assert found == Interval(**{**vars(interval(values[kept], [n for n, k in zip(names, kept, strict=True) if k])), "missing": 3})
    assert (found.questions, found.clusters, found.missing) == (57, 29, 3)
    values[np.repeat(np.arange(30) < 11, 2)] = np.nan
    assert paired_interval(values, names) is None
    assert paired_interval(np.full(60, np.nan), names) is None


def test_the_standard_error_is_near_the_cluster_jackknife_s_and_exact_for_equal_sizes() -> None:
    """Equal clusters: the standard deviation of the cluster means over sqrt K, to the last digits."""
    values = np.random.default_rng(0).normal(0, 10, 60)
    means = values.reshape(30, 2).mean(1)
    assert standard_error(values, PAIRS) == pytest.approx(means.std(ddof=1) / math.sqrt(30), rel=1e-12)
    uneven = [f"{k:02d}" for k, size in enumerate([1, 2, 3] * 20) for _ in range(size)]
    wide = np.random.default_rng(1).normal(0, 10, len(uneven))
    index = np.array([int(name) for name in uneven])
    without = np.array([wide[index != k].mean() for k in range(60)])
    jackknife = math.sqrt(59 / 60 * ((without - without.mean()) ** 2).sum())
    assert standard_error(wide, uneven) == pytest.approx(jackknife, rel=0.03)
    assert math.isnan(standard_error(wide, ["one"] * len(wide)))


def test_the_interval_of_a_symmetric_sample_is_student_s_t() -> None:
    """240 clusters of a symmetric sample. 4,000 resamples leave each limit an error of about 2 % of the half-width."""
    half = np.random.default_rng(0).normal(0, 20, 120)
    values = np.concatenate([half, -half]) + 5
    found = interval(values, labels(240, 1))
    width = float(student.ppf(0.975, 239)) * values.std(ddof=1) / math.sqrt(240)
    assert found.method == "bca"
    assert (found.low, found.high) == pytest.approx((5 - width, 5 + width), abs=0.04 * width)


def test_a_skewed_sample_s_interval_reaches_further_on_the_long_side() -> None:
    values = np.clip(skewnorm.rvs(20, loc=0, scale=15, size=60, random_state=0), -100, 100)
    found = interval(values, labels(60, 1))
    mean = values.mean()
    assert found.high - mean > 1.05 * (mean - found.low)


def test_questions_of_one_cluster_do_not_count_as_independent() -> None:
    """Each question asked four times is no more evidence than once: the same limits, far wider than those of 120 independent questions."""
    once = np.random.default_rng(0).normal(10, 30, 30)
    fourfold = np.repeat(once, 4)
    assert (interval(once, labels(30, 1)).low, interval(once, labels(30, 1)).high) == pytest.approx(
        (interval(fourfold, labels(30, 4)).low, interval(fourfold, labels(30, 4)).high), rel=1e-9
    )
    independent = interval(fourfold, labels(120, 1))
    assert interval(fourfold, labels(30, 4)).high - once.mean() > 1.8 * (independent.high - once.mean())


def test_the_order_of_the_questions_and_the_names_of_the_clusters_do_not_matter() -> None:
    values = np.random.default_rng(0).normal(10, 30, 60)
    order = np.random.default_rng(1).permutation(60)
    shuffled = interval(values[order], [PAIRS[i] for i in order])
    assert (shuffled.low, shuffled.high) == pytest.approx((interval(values, PAIRS).low, interval(values, PAIRS).high), rel=1e-9)


def test_the_same_seed_gives_the_same_limits_and_another_one_nearly_the_same() -> None:
    values = np.random.default_rng(0).normal(10, 30, 60)
    first = interval(values, PAIRS, seed=1)
    assert interval(values, PAIRS, seed=1) == first
    other = interval(values, PAIRS, seed=2)
    assert other != first
    assert (other.low, other.high) == pytest.approx((first.low, first.high), abs=0.1 * (first.high - first.low))


def test_gain_and_loss_are_each_other_s_mirror_image() -> None:
    drawn, _ = differences("gain", 0.3, 0.0, 40, 2, 1, seed=3)
    for values in (drawn[0], np.where(np.arange(80) < 5, 100.0, 0.0)):
        plus, minus = interval(values, labels(40, 2)), interval(-values, labels(40, 2))
        assert (plus.low, plus.high) == pytest.approx((-minus.high, -minus.low), abs=1.0)


def test_mid_p_limits_solve_their_definition_for_whole_counts() -> None:
    """P(X > x) + P(X = x) / 2 = 2.5 % at the lower limit and the mirror image at the upper, by summing the binomial."""
    for n, x in itertools.product((20, 57), (0, 1, 2, 7, 19, 20)):
        low, high = mid_p_limits(x, n, 0.05)
        if x > 0:
            assert binom.sf(x, n, low) + binom.pmf(x, n, low) / 2 == pytest.approx(0.025, rel=1e-6)
        else:
            assert low == 0
        if x < n:
            assert binom.cdf(x - 1, n, high) + binom.pmf(x, n, high) / 2 == pytest.approx(0.025, rel=1e-6)
        else:
            assert high == 1


@given(st.floats(0, 40), st.floats(0, 20))
@settings(max_examples=50)
def test_mid_p_limits_contain_the_share_and_grow_with_it(x: float, more: float) -> None:
    n = 40.0
    larger = min(x + more, n)
    low, high = mid_p_limits(x, n, 0.05)
    assert 0 <= low <= x / n + 1e-9
    assert x / n - 1e-9 <= high <= 1
    assert mid_p_limits(larger, n, 0.05) >= (low - 1e-7, high - 1e-7)


def test_the_interval_of_no_change_allows_for_changes_that_were_not_seen() -> None:
    """A percentile bootstrap would give [0, 0]. Mid-P limit of 0 of 60 independent questions: (1 - p)^60 / 2 = 2.5 %, so p = 4.9 %."""
    found = interval(np.zeros(60), labels(60, 1))
    p = 1 - 0.05 ** (1 / 60)
    assert found.method == "exact"
    assert (found.low, found.high) == pytest.approx((-100 * p, 100 * p), rel=1e-6)
    assert interval(np.full(60, 100.0), labels(60, 1)).high == 100
    assert interval(np.full(60, 100.0), labels(60, 1)).low == pytest.approx(100 - 200 * p, rel=1e-6)


def test_up_to_four_changed_answers_are_no_gain_and_five_all_one_way_are() -> None:
    """As McNemar's test: 5 changes against 0 have a mid-P of 2^-5 = 3.1 % (both sides); 4 against 0 and 5 against 1 have more than 5 %."""
    for up, down, better in ((1, 0, False), (4, 0, False), (5, 0, True), (5, 1, False)):
        values = np.zeros(80)
        values[:up], values[40 : 40 + down] = 100.0, -100.0
        assert interval(values, labels(80, 1)).excludes_zero() is better, (up, down)


def test_five_changed_answers_of_one_cluster_count_as_one_change() -> None:
    values = np.zeros(150)
    values[:5] = 100.0  # all of the first cluster
    assert not interval(values, labels(30, 5)).excludes_zero()
    assert interval(np.roll(np.where(np.arange(150) % 30 == 0, 100.0, 0.0), 1), labels(30, 5)).low > 0


def test_changes_far_below_a_point_do_not_give_a_narrow_interval() -> None:
    """Random vectors change a classifier's score in the third digit; that none of 72 answers changed sides does not show that none would."""
    values = np.random.default_rng(0).normal(0.01, 0.05, 72)
    found = interval(values, labels(36, 2))
    assert found.method == "exact"
    assert found.low < -3
    assert found.high > 3


def test_limits_stay_in_the_range_of_scores_and_values_outside_are_refused() -> None:
    rng = np.random.default_rng(0)
    high = mean_interval(np.where(rng.random(40) < 0.85, 100.0, 60.0), labels(20, 2))
    assert high is not None
    assert high.high <= 100
    with pytest.raises(ValueError, match="a value is 130"):
        paired_interval(np.array([130.0] * 20), labels(20, 1))
    with pytest.raises(ValueError, match="a value is -5"):
        mean_interval(np.array([-5.0] * 20), labels(20, 1))
    with pytest.raises(ValueError, match="20 values and 19"):
        paired_interval(np.zeros(20), labels(19, 1))


def test_resamples_draw_whole_clusters_each_as_often_as_every_other() -> None:
    counts = resample_counts(25, 4000, 0)
    assert (counts.sum(1) == 25).all()
    assert counts.mean(0) == pytest.approx(np.ones(25), abs=0.08)  # 5 standard errors
    with pytest.raises(ValueError, match="read-only"):
        counts[0, 0] = 1


def test_sums_by_cluster_are_what_a_loop_gives() -> None:
    names = ["b", "a", "b", "c", "a", "b"]
    values = np.array([[1.0, 2, 3, 4, 5, 6], [6.0, 5, 4, 3, 2, 1]])
    clustering = Clustering.of(names)
    by_hand = [[sum(v for v, n in zip(row, names, strict=True) if n == name) for name in "abc"] for row in values]
    assert clustering.sums(values).tolist() == by_hand
    assert clustering.size_K.tolist() == [2, 3, 1]
    with pytest.raises(ValueError, match="no question"):
        Clustering.of([])


def test_two_levels_add_the_spread_of_extraction_sets() -> None:
    """Equal questions, five refits with gains of 0 to 40: variance 250, times 1 + 1/5 for a new set, t with 4 degrees of freedom."""
    rows = np.repeat(np.arange(0.0, 50, 10)[:, None], 60, axis=1)
    found = two_level(rows, PAIRS)
    assert found is not None
    width = float(student.ppf(0.975, 4)) * math.sqrt(250 * 1.2)
    assert (found.low, found.high) == pytest.approx((20 - width, 20 + width), rel=1e-9)


def test_two_levels_without_spread_among_sets_give_the_interval_of_the_questions() -> None:
    values = np.random.default_rng(0).normal(10, 20, 60)
    found = two_level(np.stack([values] * 5), PAIRS)
    assert found is not None
    width = float(student.ppf(0.975, 29)) * standard_error(values, PAIRS)
    assert (found.low, found.high) == pytest.approx((values.mean() - width, values.mean() + width), rel=1e-9)


def test_two_levels_need_two_refits_and_twenty_clusters() -> None:
    rows = np.random.default_rng(0).normal(0, 10, (5, 60))
    assert two_level(rows[:1], PAIRS) is None
    assert two_level(rows[:, :38], PAIRS[:38]) is None
    rows[:, 3] = np.nan
    rows[2, 7] = np.nan
    found = two_level(rows, PAIRS)
    assert found is not None
    assert (found.questions, found.missing) == (59, 1)


def test_a_refit_without_a_score_is_left_out() -> None:
    rows = np.random.default_rng(0).normal(0, 10, (5, 60))
    rows[4] = np.nan
    assert two_level(rows, PAIRS) == two_level(rows[:4], PAIRS)
    rows[1:] = np.nan
    assert two_level(rows, PAIRS) is None


@pytest.mark.parametrize("different", [0, 1])
def test_refits_that_all_agree_give_no_narrower_interval_than_their_questions_alone(different: int) -> None:
    """All refits have the same gaps, 0 at each question or at all but one, so their spread cannot estimate an error."""
    values = np.where(np.arange(60) < different, 100.0, 0.0)
    found, alone = two_level(np.stack([values] * 5), PAIRS), paired_interval(values, PAIRS)
    assert found is not None
    assert alone is not None
    assert found.low <= alone.low < 0 < alone.high <= found.high


def test_clusters_that_do_not_differ_still_have_limits() -> None:
    """One answer of two is right in each of 30 clusters: resampling clusters changes nothing, but the mean is not known for certain."""
    found = mean_interval(np.array([0.0, 100.0] * 30), PAIRS)
    assert found is not None
    assert found.method == "exact"
    assert 30 < found.low < 50 < found.high < 70


@pytest.mark.parametrize("clusters", [2, 20, 41])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_clusters_of_one_size_count_each_to_the_last_bit(clusters: int, size: int) -> None:
    clustering = Clustering.of([str(k) for k in range(clusters)] * size)
    assert (clustering.effective, clustering.freedom) == (clusters, clusters - 1)


def test_one_cluster_with_nearly_all_questions_counts_for_nearly_all() -> None:
    clustering = Clustering.of(["large"] * 1000 + [f"c{k}" for k in range(19)])
    assert clustering.effective == pytest.approx(1019**2 / (1000**2 + 19))
    assert clustering.freedom == 1
