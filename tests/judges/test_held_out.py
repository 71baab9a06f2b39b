"""Held-out accuracy of a judge: its interval counts clusters, and the lower end decides whether the judge tells the classes apart."""

import random

import pytest

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


def test_without_texts_the_interval_is_everything() -> None:
    assert held_out([], []) == HeldOut(0.0, 0.0, 1.0, 0, 0)
    assert not held_out([], []).tells_apart
