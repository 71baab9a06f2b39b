"""Held-out accuracy of a judge: its interval counts clusters, and the lower end decides whether the judge tells the classes apart."""

import random

import pytest

from binnacle.words import judging
from terms.evidence import LEAST_TOLD_APART
from workers.judges.held_out import HeldOut, held_out


@pytest.mark.parametrize(("clusters", "tells"), [(2, False), (8, False), (12, True), (19, True), (40, True)])
def test_perfect_accuracy_on_few_clusters_does_not_suffice(clusters: int, tells: bool) -> None:
    found = held_out([True] * clusters, [f"c{i}" for i in range(clusters)])
    assert (found.accuracy, found.clusters, found.tells_apart) == (1.0, clusters, tells)


def test_the_lower_end_decides_not_the_accuracy() -> None:
    """An accuracy of 76 % on 50 clusters is above LEAST_TOLD_APART, but the lower end is below."""
    rng = random.Random(0)
    right = [i < 38 for i in range(50)]
    rng.shuffle(right)
    found = held_out(right, [f"c{i}" for i in range(50)])
    assert found.accuracy > LEAST_TOLD_APART > found.low
    assert not found.tells_apart


@pytest.mark.parametrize("copies", [3, 30])
def test_copies_within_a_cluster_do_not_narrow_the_interval(copies: int) -> None:
    for count in (10, 40):
        right, names = [i % 5 > 0 for i in range(count)], [f"c{i}" for i in range(count)]
        once = held_out(right, names)
        often = held_out(right * copies, names * copies)
        assert often.clusters == once.clusters
        assert often.low == pytest.approx(once.low, abs=0.03)


@pytest.mark.parametrize(("large", "small"), [(20, 18), (40, 18), (40, 4), (3, 1)])
@pytest.mark.parametrize("large_is_right", [True, False])
def test_the_accuracy_lies_within_its_interval_where_clusters_are_unequal(large: int, small: int, large_is_right: bool) -> None:
    """One large cluster all right or all wrong, beside small ones of one text that are the opposite."""
    found = held_out([large_is_right] * large + [not large_is_right] * small, ["large"] * large + [f"c{i}" for i in range(small)])
    assert found.low < found.accuracy < found.high
    assert not found.tells_apart
    assert found.high - found.low > 0.3, "it is hardly more than the evidence of one cluster"


def test_clusters_of_one_size_count_each_once() -> None:
    """9 of 10 clusters right: the mid-P binomial limits by their definition, P(X > 9) + P(X = 9) / 2 = 0.025 at the lower."""
    found = held_out([i % 10 > 0 for i in range(40)], [f"c{i % 10}" for i in range(40)])
    p = found.low
    assert p**10 + 10 * p**9 * (1 - p) / 2 == pytest.approx(0.025, abs=2e-4)


def test_the_words_name_the_share_that_decides() -> None:
    """The client, which makes them, cannot import the constant."""
    assert judging.NEEDED == 100 * LEAST_TOLD_APART


def test_without_texts_the_interval_is_everything() -> None:
    assert held_out([], []) == HeldOut(0.0, 0.0, 1.0, 0, 0)
    assert not held_out([], []).tells_apart
