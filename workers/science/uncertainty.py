"""Intervals of means over questions that come in clusters (science: Scores).

Questions of one cluster are nearly the same question, so clusters are what is resampled. Fewer than 20 clusters: no interval. Else a
bootstrap of clusters, studentised by the cluster-robust standard error; where nearly all differences are equal its variance estimate says
nothing, and the clusters that differ are counted, exactly. tests/benchmarks/bench_coverage.py measures the coverage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, t

from workers.science.scores import Scores

FEWEST_CLUSTERS = 20
MOSTLY_EQUAL = 0.9
"""Share of equal differences from which the exact interval is used."""
RESAMPLES = 4000


@dataclass(frozen=True)
class Interval:
    """Limits in the unit of the values; `n` questions in `clusters` clusters."""

    low: float
    high: float
    method: str
    n: int
    clusters: int


@dataclass(frozen=True, eq=False)
class Clustered:
    """Values by cluster: sums and sizes, [K] each."""

    sums_K: Scores
    sizes_K: Scores
    values: Scores

    @property
    def mean(self) -> float:
        return float(self.sums_K.sum() / self.sizes_K.sum())

    @property
    def standard_error(self) -> float:
        """Cluster-robust (linearised ratio), with the small-sample factor K/(K-1); NaN under two clusters."""
        k = len(self.sums_K)
        if k < 2:
            return float("nan")
        residual_K = self.sums_K - self.mean * self.sizes_K
        return float(np.sqrt(k / (k - 1) * (residual_K**2).sum())) / float(self.sizes_K.sum())


def clustered(values_Q: Scores, clusters: Sequence[str]) -> Clustered:
    """Drops NaN: a question that the judge failed on has no difference."""
    known = ~np.isnan(values_Q)
    names, place = np.unique(np.asarray(clusters, dtype=np.str_)[known], return_inverse=True)
    values = values_Q[known]
    sums_K = np.bincount(place, values, len(names)).astype(np.float64)
    return Clustered(sums_K, np.bincount(place, minlength=len(names)).astype(np.float64), values)


def standard_error(values_Q: Scores, clusters: Sequence[str]) -> float:
    """Cluster-robust standard error of the mean; NaN under two clusters."""
    return clustered(values_Q, clusters).standard_error


def mostly_equal(values_Q: Scores) -> bool:
    """Whether so many values are the same that their spread says nothing."""
    known = values_Q[~np.isnan(values_Q)]
    return bool(len(known)) and bool(np.unique(known, return_counts=True)[1].max() >= MOSTLY_EQUAL * len(known))


def paired_interval(
    differences_Q: Scores, clusters: Sequence[str], *, level: float = 0.95, seed: int = 0, limit: float = 100.0
) -> Interval | None:
    """Of the mean of paired differences, kept within +-`limit`. None under 20 clusters: not enough evidence."""
    data = clustered(differences_Q, clusters)
    if len(data.sums_K) < FEWEST_CLUSTERS:
        return None
    if mostly_equal(data.values):
        values, counts = np.unique(data.values, return_counts=True)
        return _kept(data, *_exact(data, float(values[counts.argmax()]), level), "exact", limit)
    return _kept(data, *_studentised(data, level, seed), "studentised bootstrap", limit)


def mean_interval(values_Q: Scores, clusters: Sequence[str], *, level: float = 0.95, seed: int = 0) -> Interval | None:
    """Of a mean score between 0 and 100."""
    found = paired_interval(values_Q - 50.0, clusters, level=level, seed=seed, limit=50.0)
    return None if found is None else Interval(found.low + 50, found.high + 50, found.method, found.n, found.clusters)


def two_level(differences_KQ: Scores, clusters: Sequence[str], *, level: float = 0.95) -> Interval | None:
    """Of a contrast measured with K refits on resampled extraction sets, [K, Q]: variances between sets and between questions add.

    Student's t with Satterthwaite's degrees of freedom. None with fewer than three refits or 20 clusters.
    """
    sets = differences_KQ.shape[0]
    data = clustered(np.nanmean(differences_KQ, axis=0), clusters)
    if sets < 3 or len(data.sums_K) < FEWEST_CLUSTERS:
        return None
    between_sets = float(np.nanvar(np.nanmean(differences_KQ, axis=1), ddof=1)) / sets
    between_questions = data.standard_error**2
    total = between_sets + between_questions
    if total == 0:
        return _kept(data, data.mean, data.mean, "two-level", 100.0)
    freedom = total**2 / (between_sets**2 / (sets - 1) + between_questions**2 / (len(data.sums_K) - 1))
    width = float(t.ppf((1 + level) / 2, freedom)) * float(np.sqrt(total))
    return _kept(data, data.mean - width, data.mean + width, "two-level", 100.0)


def _kept(data: Clustered, low: float, high: float, method: str, limit: float) -> Interval:
    return Interval(max(-limit, low), min(limit, high), method, len(data.values), len(data.sums_K))


def _studentised(data: Clustered, level: float, seed: int) -> tuple[float, float]:
    """Bootstrap-t over clusters: quantiles of (mean* - mean) / se* in units of se (Efron and Tibshirani 1993, chapter 12)."""
    k = len(data.sums_K)
    drawn_RK = np.random.default_rng(seed).integers(0, k, (RESAMPLES, k))
    sums_RK, sizes_RK = data.sums_K[drawn_RK], data.sizes_K[drawn_RK]
    size_R = sizes_RK.sum(1)
    mean_R = sums_RK.sum(1) / size_R
    error_R = np.sqrt(k / (k - 1) * ((sums_RK - mean_R[:, None] * sizes_RK) ** 2).sum(1)) / size_R
    error = data.standard_error
    usable = error_R > 0.05 * error  # a resample of equal clusters has no scale of its own
    pivot = (mean_R[usable] - data.mean) / error_R[usable]
    upper, lower = np.quantile(pivot, [(1 + level) / 2, (1 - level) / 2])
    # heavy skew at few clusters can throw a quantile far out: bounded by twice the t interval's width
    bound = 2 * float(t.ppf((1 + level) / 2, k - 1))
    return data.mean - min(float(upper), bound) * error, data.mean - max(float(lower), -bound) * error


def _exact(data: Clustered, usual: float, level: float) -> tuple[float, float]:
    """Where nearly all differences equal `usual`: clusters that differ are counted, up and down, with Clopper-Pearson limits each.

    The mean is usual + share up x mean step up - share down x mean step down; a step never seen is taken at the largest seen, or 100.
    """
    k = len(data.sums_K)
    deviation_K = data.sums_K / data.sizes_K - usual
    up, down = deviation_K > 1e-9, deviation_K < -1e-9
    step = float(np.abs(deviation_K).max()) or 100.0
    low_up, high_up = _share_limits(int(up.sum()), k, level)
    low_down, high_down = _share_limits(int(down.sum()), k, level)
    if up.any() and not down.any():
        high_down = 0.0
    if down.any() and not up.any():
        high_up = 0.0
    size_up = float(deviation_K[up].mean()) if up.any() else step
    size_down = float(-deviation_K[down].mean()) if down.any() else step
    return usual + low_up * size_up - high_down * size_down, usual + high_up * size_up - low_down * size_down


def _share_limits(count: int, of: int, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, count, of - count + 1)) if count else 0.0
    return low, float(beta.ppf(1 - tail, count + 1, of - count)) if count < of else 1.0
