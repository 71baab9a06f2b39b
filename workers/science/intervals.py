"""Confidence intervals of a mean over questions in clusters (science.md, 4.5). Deterministic for a seed: no clock, no global state.

Chosen by the data:

    fewer than 20 clusters   None: "not enough evidence"
    >= 90 % equal            exact (`workers.science.exact`); values within a point count as equal. Also where clusters do not differ
    else                     BCa bootstrap over clusters, with its normal quantiles widened to Student's

BCa (Efron 1987): the resampled means' quantiles at Phi(z0 + (z0 + q) / (1 - a (z0 + q))), with z0 the bias and a the skewness of the clusters'
contributions to the mean. q = -+ t_{k-1} sqrt(k / (k-1)) instead of the normal quantile corrects the bootstrap's narrowness at few clusters
(Hesterberg 2015), with k the effective number of clusters, which is K where they are of one size; z0 and a are shrunk by
K / (K + 7), since the skewness of few clusters is mostly noise. Coverage on scores of known truth, and the rejected alternatives:
tests/benchmarks/coverage.md.

Shapes: Q questions, K clusters, B resamples, R refits. Values are in points; NaN is a question without a score: it is left out of the mean and
counted as missing, never read as 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import t as student

from terms.evidence import FEWEST_CLUSTERS
from workers.science import exact
from workers.science.clusters import Clustering, resample_counts
from workers.science.linalg import Float

NEARLY_ALL = 0.9
"""The share of equal values from which the interval is exact."""
RESAMPLES = 4000
LEVEL = 0.95
SKEWNESS_PRIOR = 7.0
"""Weight of the prior of no skewness, in clusters: with 20 clusters a quarter of the observed skewness is discounted."""
_EQUAL = 1e-9


@dataclass(frozen=True)
class Interval:
    """Limits in points. `method` is exact, bca or two-level. `questions` is the number with a score, `missing` the number without."""

    low: float
    high: float
    method: str
    questions: int
    clusters: int
    missing: int = 0

    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0

    def within(self, margin: float) -> bool:
        """Whether the whole interval lies inside -+ margin."""
        return -margin < self.low and self.high < margin


@dataclass(frozen=True, eq=False)
class Clustered:
    """The values that are not NaN, with their clustering."""

    values: Float
    clustering: Clustering
    missing: int

    @property
    def mean(self) -> float:
        """The mean over questions."""
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        """The standard error of the mean, with independent clusters; NaN with one cluster."""
        return float(self.clustering.standard_error(self.values))


def clustered(values_Q: Float, labels: Sequence[str]) -> Clustered | None:
    """Pairs values with the labels of their clusters; None where no value is left. Raises ValueError when their numbers differ."""
    if len(labels) != len(values_Q):
        raise ValueError(f"there are {len(values_Q)} values and {len(labels)} cluster labels: give one label for each value")
    known_Q = ~np.isnan(values_Q)
    if not known_Q.any():
        return None
    kept = [label for label, known in zip(labels, known_Q, strict=True) if known]
    return Clustered(np.asarray(values_Q, dtype=np.float64)[known_Q], Clustering.of(kept), int((~known_Q).sum()))


def paired_interval(
    differences_Q: Float, labels: Sequence[str], *, level: float = LEVEL, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """The interval of the mean of paired differences, each from -100 to 100; None with fewer than 20 clusters."""
    return _interval(differences_Q, labels, (-100.0, 100.0), level, seed, resamples)


def mean_interval(
    scores_Q: Float, labels: Sequence[str], *, level: float = LEVEL, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """The interval of a mean score, each score from 0 to 100; None with fewer than 20 clusters."""
    return _interval(scores_Q, labels, (0.0, 100.0), level, seed, resamples)


def standard_error(values_Q: Float, labels: Sequence[str]) -> float:
    """The standard error of the mean, with independent clusters; NaN with fewer than two clusters."""
    data = clustered(values_Q, labels)
    return float("nan") if data is None else data.standard_error


def two_level(differences_RQ: Float, labels: Sequence[str], *, level: float = LEVEL) -> Interval | None:
    """The interval of the mean over both extraction sets and questions (science.md, 5); None with fewer than 20 clusters or 2 refits.

        se^2 = (1 + 1/R) s_R^2 + se_K^2,   degrees of freedom by Satterthwaite

    Row r is the r-th refit, on a cluster resample of the extraction set, judged on the same questions. s_R^2, the variance among rows' means,
    measures how far the results of two extraction sets differ (a bootstrap's variance, so it is not divided by R: more refits estimate it better
    but do not make it smaller); se_K is the clustered error of the questions' means over rows. A refit without any value is left out. Where the
    questions' means are (nearly) all equal, se_K says nothing, and the limits reach at least as far as the exact ones of these means.
    """
    differences_RQ = differences_RQ[~np.isnan(differences_RQ).all(axis=1)]
    rows = len(differences_RQ)
    known_Q = np.asarray(~np.isnan(differences_RQ).all(axis=0))
    if rows < 2 or not known_Q.any():
        return None
    kept_RQ = differences_RQ[:, known_Q]
    means_Q, kept = np.nanmean(kept_RQ, axis=0), [label for label, known in zip(labels, known_Q, strict=True) if known]
    data = clustered(means_Q, kept)
    if data is None or data.clustering.clusters < FEWEST_CLUSTERS:
        return None
    among_sets = (1 + 1 / rows) * float(np.nanmean(kept_RQ, axis=1).var(ddof=1))
    among_questions = data.standard_error**2
    total = among_sets + among_questions
    clusters = data.clustering.clusters
    width = 0.0
    if total > 0:
        freedom = total**2 / (among_sets**2 / (rows - 1) + among_questions**2 / data.clustering.freedom)
        width = float(student.ppf((1 + level) / 2, freedom)) * total**0.5
    low, high = max(-100.0, data.mean - width), min(100.0, data.mean + width)
    alone = paired_interval(means_Q, kept, level=level)
    if alone is not None and alone.method == "exact":
        low, high = min(low, alone.low), max(high, alone.high)
    return Interval(
        low,
        high,
        "two-level",
        len(data.values),
        clusters,
        int((~known_Q).sum()),
    )


def _interval(
    values_Q: Float, labels: Sequence[str], span: tuple[float, float], level: float, seed: int, resamples: int
) -> Interval | None:
    data = clustered(values_Q, labels)
    if data is None or data.clustering.clusters < FEWEST_CLUSTERS:
        return None
    if data.values.min() < span[0] - _EQUAL or data.values.max() > span[1] + _EQUAL:
        worst = data.values[np.abs(data.values - sum(span) / 2).argmax()]
        raise ValueError(f"a value is {worst:g}; it must lie from {span[0]:g} to {span[1]:g}: scores are from 0 to 100")
    if exact.equal_values(data.values).mean() >= NEARLY_ALL:
        method, (low, high) = "exact", exact.limits(data.values, data.clustering, 1 - level, span)
    elif np.allclose(data.clustering.residuals(data.values), 0.0, atol=_EQUAL):  # resampling clusters changes nothing
        method, (low, high) = "exact", _one_share(data, 1 - level, span)
    else:
        method, (low, high) = "bca", _bca(data, 1 - level, seed, resamples)
    return Interval(low, high, method, len(data.values), data.clustering.clusters, data.missing)


def _one_share(data: Clustered, alpha: float, span: tuple[float, float]) -> tuple[float, float]:
    """Limits of a mean that is equal in all clusters: those of its share of the span, observed once in each cluster."""
    floor, ceiling = span
    clusters = data.clustering.clusters
    low, high = exact.mid_p_limits(clusters * (data.mean - floor) / (ceiling - floor), clusters, alpha)
    return floor + (ceiling - floor) * low, floor + (ceiling - floor) * high


def _bca(data: Clustered, alpha: float, seed: int, resamples: int) -> tuple[float, float]:
    clustering = data.clustering
    clusters = clustering.clusters
    counts_BK = resample_counts(clusters, resamples, seed)
    means_B = np.sort(counts_BK @ clustering.sums(data.values) / (counts_BK @ clustering.size_K))
    below, upto = np.searchsorted(means_B, (data.mean - _EQUAL, data.mean + _EQUAL))
    trust = clusters / (clusters + SKEWNESS_PRIOR)
    bias = trust * ndtri(np.clip((below + upto) / (2 * resamples), 1 / resamples, 1 - 1 / resamples))
    pull_K = clustering.residuals(data.values)
    skewness = trust * np.power(pull_K, 3).sum() / (6 * np.square(pull_K).sum() ** 1.5)
    freedom = clustering.freedom
    quantile = student.ppf(1 - alpha / 2, freedom) * np.sqrt((freedom + 1) / freedom)
    reach = bias + np.array([-quantile, quantile])
    low, high = np.quantile(means_B, ndtr(bias + reach / np.maximum(1 - skewness * reach, 1e-6)))
    return float(low), float(high)
