"""A judge's accuracy on clusters that it has not seen: the interval is over clusters, and its lower end decides."""

import random

import pytest

from terms.evidence import LEAST_TOLD_APART
from workers.judges.held_out import HeldOut, held_out


@pytest.mark.parametrize(("clusters", "tells"), [(2, False), (8, False), (12, True), (19, True), (40, True)])
def test_everything_right_on_few_clusters_is_not_yet_sure(clusters: int, tells: bool) -> None:
    found = held_out([True] * clusters, [f"c{i}" for i in range(clusters)])
    assert (found.accuracy, found.clusters, found.tells_apart) == (1.0, clusters, tells)


def test_the_lower_end_decides_and_not_the_accuracy() -> None:
    """76 % of 50 lies above what is needed, its interval does not."""
    rng = random.Random(0)
    right = [i < 38 for i in range(50)]
    rng.shuffle(right)
    found = held_out(right, [f"c{i}" for i in range(50)])
    assert found.accuracy > LEAST_TOLD_APART > found.low
    assert not found.tells_apart


@pytest.mark.parametrize("copies", [3, 30])
def test_copies_in_a_cluster_say_no_more_than_the_cluster(copies: int) -> None:
    for count in (10, 40):
        right, names = [i % 5 > 0 for i in range(count)], [f"c{i}" for i in range(count)]
        once = held_out(right, names)
        often = held_out(right * copies, names * copies)
        assert often.clusters == once.clusters
        assert often.low == pytest.approx(once.low, abs=0.03)


def test_without_any_text_nothing_is_known() -> None:
    assert held_out([], []) == HeldOut(0.0, 0.0, 1.0, 0, 0)
    assert not held_out([], []).tells_apart
