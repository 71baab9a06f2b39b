"""Resamples of clusters vary, or a reason says why they cannot."""

import numpy as np
import pytest

from workers.science.examples import Examples
from workers.science.resampling import resampled, too_few_clusters


def examples(positive: list[int], negative: list[int]) -> Examples:
    """Examples of these clusters, one a row."""
    return Examples.build([str(cluster) for cluster in positive], [str(cluster) for cluster in negative])


@pytest.mark.parametrize(
    ("positive", "negative", "fixed"),
    [
        ([0, 1, 2], [0, 1, 2], None),
        ([0, 1, 2], [3, 4], None),
        ([0, 1, 1], [0, 1, 2], None),
        ([0, 1], [0, 2], "positive"),  # three strata of one cluster: each resample draws each cluster once
        ([0, 1, 2], [0, 0, 0], "negative"),
        ([0, 0], [1, 2], "positive"),
    ],
)
def test_a_class_without_two_clusters_of_one_kind_cannot_be_resampled(
    positive: list[int], negative: list[int], fixed: str | None
) -> None:
    made = examples(positive, negative)
    counts = np.stack([resampled(made, seed=0, k=k) for k in range(1, 40)])
    varied = {
        name: len(np.unique(counts[:, of_class], axis=0)) > 1
        for name, of_class in (("positive", made.positive), ("negative", ~made.positive))
    }
    reason = too_few_clusters(made)
    if fixed is None:
        assert reason is None
        assert all(varied.values())
    else:
        assert reason is not None
        assert f"The {fixed} training examples" in reason
        assert not varied[fixed]
