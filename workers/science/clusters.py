"""Clusters of questions: the cluster of each question, sums by cluster, and resamples of whole clusters.

Two questions of one cluster (one task, one scenario) are nearly the same question, so clusters and not questions are the independent units of a
test set. Shapes: Q questions, K clusters, B resamples. Works without scores or intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from workers.science.linalg import Float, Int


@dataclass(frozen=True, eq=False)
class Clustering:
    """The cluster of each question. `index_Q` holds cluster numbers, 0 to K-1 in the sorted order of their labels, so that they do not depend on
    the order in which questions are given."""

    index_Q: Int
    size_K: Int

    @classmethod
    def of(cls, labels: Sequence[str]) -> "Clustering":
        """Builds the clustering from each question's label. Raises ValueError without any question."""
        if not len(labels):
            raise ValueError("there is no question, so there is no mean")
        _, index_Q, size_K = np.unique(np.asarray(labels, dtype=np.str_), return_inverse=True, return_counts=True)
        return cls(index_Q.astype(np.int64), size_K.astype(np.int64))

    @property
    def clusters(self) -> int:
        """The number of clusters, K."""
        return len(self.size_K)

    @property
    def effective(self) -> float:
        """The effective number of clusters (sum n_k)^2 / sum n_k^2 (Kish 1965): K where all have one size, near 1 where one has nearly all
        questions. So many clusters of one size would give a mean of the same variance, were the questions of a cluster all alike."""
        return float(self.size_K.sum() ** 2 / np.square(self.size_K).sum())

    @property
    def freedom(self) -> float:
        """The degrees of freedom of an error over clusters: `effective` - 1, and at least 1."""
        return max(self.effective - 1, 1.0)

    def sums(self, values: Float) -> Float:
        """Sums the values of each cluster, [..., Q] -> [..., K]."""
        flat_RQ = values.reshape(-1, len(self.index_Q))
        out_RK = np.stack([np.bincount(self.index_Q, weights=row, minlength=self.clusters) for row in flat_RQ])
        return np.asarray(out_RK.reshape(*values.shape[:-1], self.clusters))

    def residuals(self, values: Float) -> Float:
        """Each cluster's contribution to the mean of all questions, [..., Q] -> [..., K]: (S_k - mean n_k) / (Q / K), which sum to 0.

        The linearisation of a ratio of sums (Cochran 1977, 6.4): the mean's variance is sum z^2 / (K (K - 1)).
        """
        mean = values.mean(axis=-1, keepdims=True)
        return np.asarray((self.sums(values) - mean * self.size_K) * (self.clusters / len(self.index_Q)))

    def standard_error(self, values: Float) -> Float:
        """The standard error of the mean over questions, with independent clusters, [..., Q] -> [...]; NaN with one cluster."""
        if self.clusters < 2:
            return np.full(values.shape[:-1], np.nan)
        return np.asarray(np.sqrt(np.square(self.residuals(values)).sum(-1) / (self.clusters * (self.clusters - 1))))


@lru_cache(maxsize=8)
def resample_counts(clusters: int, resamples: int, seed: int) -> Float:
    """How often each cluster is drawn in each resample of K with replacement, [B, K]; the same draws for every table of one seed.

    A drawn cluster brings all its questions (Davison & Hinkley 1997, 3.8). Resampling the questions inside it again would count their variance
    twice: with four questions per cluster and no shared variance, intervals would be a third too wide (tests/benchmarks/coverage.md).
    """
    draws = np.random.default_rng([seed, clusters]).multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    counts_BK = draws.astype(np.float64)
    counts_BK.flags.writeable = False
    return counts_BK
