"""Measures how many labelled texts a judge classifies correctly on clusters that it has not seen, and whether that is enough for a verdict.

The interval is over clusters; where these are too few for the interval of `workers.science.intervals`, it is the mid-P binomial interval of
the accuracy at their effective number, (sum n_k)^2 / sum n_k^2 for clusters of n_k texts, as if a cluster's texts were all alike (Kish 1965).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from terms.documents.judge import Accuracy
from terms.evidence import LEAST_TOLD_APART
from workers.science.clusters import Clustering
from workers.science.exact import mid_p_limits
from workers.science.intervals import LEVEL, mean_interval


@dataclass(frozen=True)
class HeldOut:
    """`accuracy` on `n` texts in `clusters` clusters with its 95 % limits, all as shares. Chance is 0.5."""

    accuracy: float
    low: float
    high: float
    n: int
    clusters: int

    @property
    def tells_apart(self) -> bool:
        """Whether the whole interval lies at or above the accuracy that a verdict needs."""
        return self.low >= LEAST_TOLD_APART

    def to_json(self) -> Accuracy:
        """The result as plain JSON values."""
        return {"accuracy": self.accuracy, "low": self.low, "high": self.high, "n": self.n, "clusters": self.clusters}

    @classmethod
    def from_json(cls, stored: Accuracy) -> "HeldOut":
        """Restores the result of `to_json`."""
        return cls(**stored)


def held_out(right: Sequence[bool], clusters: Sequence[str]) -> HeldOut:
    """The accuracy over texts, from whether each was classified correctly and its cluster. Without texts the interval is 0 to 1."""
    if not right:
        return HeldOut(0.0, 0.0, 1.0, 0, 0)
    values = np.array(right, dtype=np.float64)
    accuracy, clustering = float(values.mean()), Clustering.of(clusters)
    interval = mean_interval(100 * values, clusters)
    if interval is not None:
        low, high = interval.low / 100, interval.high / 100
    else:
        low, high = mid_p_limits(accuracy * clustering.effective, clustering.effective, 1 - LEVEL)
    return HeldOut(round(accuracy, 4), round(low, 4), round(high, 4), len(right), clustering.clusters)
