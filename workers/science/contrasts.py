"""Differences between vectors on the same questions, with intervals that hold for all contrasts of one table at once.

Max-t over a shared cluster bootstrap (Westfall and Young 1993): the largest studentised deviation among all contrasts sets one width in
units of each contrast's standard error.
"""

from collections.abc import Mapping

import numpy as np
from scipy.stats import t

from workers.science.scores import Scores
from workers.science.uncertainty import FEWEST_CLUSTERS, RESAMPLES, Interval, clustered, mostly_equal, paired_interval


def simultaneous(
    differences: Mapping[str, Scores], clusters: list[str], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval | None]:
    """By name: per-question differences [Q] in, an interval of each mean out. A contrast without spread has its own exact interval."""
    found: dict[str, Interval | None] = {}
    moving = {}
    for name, values in differences.items():
        data = clustered(values, clusters)
        if len(data.sums_K) < FEWEST_CLUSTERS:
            found[name] = None
        elif mostly_equal(values):
            found[name] = paired_interval(values, clusters, level=_shared(level, len(differences)), seed=seed)
        else:
            moving[name] = values
    if moving:
        found |= _max_t(moving, clusters, level, resamples, seed)
    return {name: found[name] for name in differences}


def _shared(level: float, contrasts: int) -> float:
    """Bonferroni's level for those that cannot join the bootstrap."""
    return 1 - (1 - level) / max(1, contrasts)


def _max_t(
    differences: Mapping[str, Scores], clusters: list[str], level: float, resamples: int, seed: int
) -> dict[str, Interval | None]:
    names, place = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    k = len(names)
    drawn = np.random.default_rng(seed).integers(0, k, (resamples, k))
    weights_RK = np.stack([np.bincount(row, minlength=k) for row in drawn]).astype(np.float64)
    largest_R = np.zeros(resamples)
    facts = {}
    for name, values in differences.items():
        known = ~np.isnan(values)
        sums_K = np.bincount(place[known], values[known], k)
        sizes_K = np.bincount(place[known], minlength=k).astype(np.float64)
        size_R = weights_RK @ sizes_K
        mean_R = np.divide(weights_RK @ sums_K, size_R, out=np.zeros(resamples), where=size_R > 0)
        squares = weights_RK @ sums_K**2 - 2 * mean_R * (weights_RK @ (sums_K * sizes_K)) + mean_R**2 * (weights_RK @ sizes_K**2)
        error_R = np.sqrt(np.maximum(squares, 0) * k / (k - 1)) / np.maximum(size_R, 1)
        data = clustered(values, clusters)
        usable = error_R > 0.05 * data.standard_error
        pivot_R = np.where(usable, np.abs(mean_R - data.mean) / np.where(usable, error_R, 1.0), 0.0)
        largest_R = np.maximum(largest_R, pivot_R)
        facts[name] = data
    bound = 2 * float(t.ppf((1 + _shared(level, len(differences))) / 2, k - 1))
    width = min(float(np.quantile(largest_R, level)), bound)
    return {
        name: Interval(
            max(-100.0, data.mean - width * data.standard_error),
            min(100.0, data.mean + width * data.standard_error),
            "max-t",
            len(data.values),
            len(data.sums_K),
        )
        for name, data in facts.items()
    }


def smallest_detectable(differences_Q: Scores, clusters: list[str], *, level: float = 0.95, power: float = 0.8) -> float | None:
    """The smallest mean difference that such an experiment would find with this power, in points; None under two clusters."""
    data = clustered(differences_Q, clusters)
    k = len(data.sums_K)
    if k < 2:
        return None
    return float((t.ppf((1 + level) / 2, k - 1) + t.ppf(power, k - 1)) * data.standard_error)
