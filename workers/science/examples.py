"""The examples of one position: class, cluster, rank in the cluster and split of each row, the same at every layer.

N rows, positives first. Two prompts of one cluster are nearly the same question; the i-th positive and the i-th negative of a cluster are a pair
(docs/science.md, 3.1). Works without activations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.science.linalg import Bool, Int


@dataclass(frozen=True)
class Examples:
    """Arrays over N rows; `build` makes them from lists."""

    positive: Bool  # [N] True for the first Np
    cluster: Int  # [N] the cluster's index in the sorted order of names, so that the order of rows does not matter
    rank: Int  # [N] index among the rows of its class in its cluster
    train: Bool  # [N] False for the held-out split

    @staticmethod
    def build(
        positive_clusters: Sequence[str],
        negative_clusters: Sequence[str],
        *,
        positive_train: Sequence[bool] | None = None,
        negative_train: Sequence[bool] | None = None,
        positive_ranks: Sequence[int] | None = None,
        negative_ranks: Sequence[int] | None = None,
    ) -> "Examples":
        """Builds the arrays from one list entry per example. Without splits all examples are for training.

        Ranks default to the order of rows in their cluster; give them where examples were left out (an empty window), so that the others stay
        paired.
        """
        given = ((positive_clusters, positive_train, positive_ranks), (negative_clusters, negative_train, negative_ranks))
        for name, (clusters, *others) in zip(("positive", "negative"), given, strict=True):
            if any(other is not None and len(other) != len(clusters) for other in others):
                raise ValueError(f"{name}: give one cluster, one split and one rank for each of {len(clusters)} examples")
        names = [*positive_clusters, *negative_clusters]
        _, cluster = np.unique(np.asarray(names, dtype=np.str_), return_inverse=True)
        n_positive = len(positive_clusters)
        train = [*_or_all(positive_train, positive_clusters), *_or_all(negative_train, negative_clusters)]
        ranks = [
            *(_ranks(positive_clusters) if positive_ranks is None else positive_ranks),
            *(_ranks(negative_clusters) if negative_ranks is None else negative_ranks),
        ]
        return Examples(
            positive=np.arange(len(names)) < n_positive,
            cluster=cluster.astype(np.int64),
            rank=np.asarray(ranks, dtype=np.int64),
            train=np.asarray(train, dtype=np.bool_),
        )

    def subset(self, chosen_N: Bool) -> "Examples":
        """The examples of the chosen rows only."""
        return Examples(self.positive[chosen_N], self.cluster[chosen_N], self.rank[chosen_N], self.train[chosen_N])


def _or_all(train: Sequence[bool] | None, clusters: Sequence[str]) -> Sequence[bool]:
    return [True] * len(clusters) if train is None else train


def _ranks(clusters: Sequence[str]) -> list[int]:
    seen: dict[str, int] = {}
    ranks = []
    for name in clusters:
        ranks.append(seen.get(name, 0))
        seen[name] = ranks[-1] + 1
    return ranks
