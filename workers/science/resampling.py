"""Cluster resamples of examples as counts: how often each row is drawn, so that a resampled mean is a matrix product.

Clusters are drawn with replacement inside three strata (clusters with both classes, with positives only, with negatives only), so that a class
never vanishes. The k-th draw depends on the seed, k and the clusters alone: it is the same at every layer.
"""

from collections.abc import Iterator

import numpy as np

from workers.science.examples import Examples
from workers.science.linalg import Bool, Int

_RESAMPLE, _HALVES = 1, 2  # the purpose of a generator's numbers, mixed into its seed


def strata(examples: Examples) -> list[Int]:
    """The cluster numbers of each stratum that is not empty, ascending."""
    with_positive = set(examples.cluster[examples.positive].tolist())
    with_negative = set(examples.cluster[~examples.positive].tolist())
    groups = (with_positive & with_negative, with_positive - with_negative, with_negative - with_positive)
    return [np.asarray(sorted(group), dtype=np.int64) for group in groups if group]


def resampled(examples: Examples, seed: int, k: int) -> Int:
    """The row counts [N] of the k-th cluster resample (k >= 1)."""
    generator = np.random.default_rng([seed, _RESAMPLE, k])
    counts_C = np.zeros(int(examples.cluster.max()) + 1, dtype=np.int64)
    for clusters in strata(examples):
        np.add.at(counts_C, generator.choice(clusters, size=len(clusters)), 1)
    return counts_C[examples.cluster]


def halves(examples: Examples, seed: int) -> tuple[Int, Int] | None:
    """The row counts [N], [N] of two halves without a common cluster, or None where a half would lack a class."""
    generator = np.random.default_rng([seed, _HALVES])
    first_C = np.zeros(int(examples.cluster.max()) + 1, dtype=np.bool_)
    for turn, clusters in enumerate(strata(examples)):
        first_C[generator.permutation(clusters)[: (len(clusters) + turn % 2) // 2]] = True
    first_N = first_C[examples.cluster]
    if not all(_both_classes(examples, half) for half in (first_N, ~first_N)):
        return None
    return first_N.astype(np.int64), (~first_N).astype(np.int64)


def too_few_clusters(examples: Examples) -> str | None:
    """The reason why resamples of a class would not vary, or None. Each class needs rows in a stratum of at least two clusters."""
    drawn = np.concatenate([clusters for clusters in strata(examples) if len(clusters) > 1] or [np.empty(0, dtype=np.int64)])
    for name, of_class in (("positive", examples.positive), ("negative", ~examples.positive)):
        if not np.isin(examples.cluster[of_class], drawn).any():
            return (
                f"The {name} training examples cannot be resampled: no two of their clusters are of one kind (clusters with both classes, "
                f"or clusters with {name} prompts only). Add prompts in other clusters."
            )
    return None


def pairs(examples: Examples, positive_N: Bool, counts_N: Int, seed: int) -> Iterator[tuple[int, int]]:
    """Yields pairs of rows (i positive, j negative) drawn `counts_N` times, each draw in at most one pair: first those of equal cluster and
    rank (the index among the rows of a class in its cluster), then the rest at random by the seed; surplus draws of the larger class stay
    unpaired.

    `positive_N` are the labels, which may differ from the examples' own (shuffled labels).
    """
    rest: tuple[list[int], list[int]] = ([], [])
    sides: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for row in np.flatnonzero(counts_N).tolist():
        place = (int(examples.cluster[row]), int(examples.rank[row]))
        sides.setdefault(place, ([], []))[0 if positive_N[row] else 1].extend([row] * int(counts_N[row]))
    for place in sorted(sides):
        one, other = sides[place]
        matched = min(len(one), len(other))
        yield from zip(one[:matched], other[:matched], strict=True)
        rest[0].extend(one[matched:])
        rest[1].extend(other[matched:])
    generator = np.random.default_rng(seed)
    yield from zip(*(generator.permutation(side).tolist() for side in rest), strict=False)


def _both_classes(examples: Examples, half_N: Bool) -> bool:
    return bool((half_N & examples.positive).any() and (half_N & ~examples.positive).any())
