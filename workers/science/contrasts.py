"""Simultaneous confidence intervals for paired differences: all contrasts of one table are covered at once.

Max-t (Hothorn, Bretz & Westfall 2008): c is the 95 % quantile of the largest |t| among contrasts without true differences that are
correlated like these. Each contrast then gets its usual single interval at the level of c. Few or nearly equal contrasts therefore
widen the intervals little, and a contrast with nearly all differences equal keeps its exact interval. The largest |t| is drawn with
Gaussian multipliers on the clusters' pulls (Chernozhukov, Chetverikov & Kato 2013), with one chi^2 per draw for the estimated errors.

Shapes: J contrasts, Q questions, K clusters, B draws.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import t as student

from terms.evidence import FEWEST_CLUSTERS
from workers.science.clusters import Clustering
from workers.science.intervals import LEVEL, Interval, clustered, paired_interval
from workers.science.linalg import Float

DRAWS = 20_000
POWER = 0.8


def simultaneous(
    differences: Mapping[str, Float], labels: Sequence[str], *, level: float = LEVEL, seed: int = 0
) -> dict[str, Interval | None]:
    """The interval of each contrast's mean difference in points, by name; None where there are too few clusters.

    `differences` holds paired differences [Q] in points by name; `labels` [Q] are the clusters. All intervals hold together with
    probability `level`.
    """
    each = simultaneous_level(list(differences.values()), labels, level=level, seed=seed)
    return {name: paired_interval(values, labels, level=each, seed=seed) for name, values in differences.items()}


def simultaneous_level(differences: Sequence[Float], labels: Sequence[str], *, level: float = LEVEL, seed: int = 0) -> float:
    """The level for each single interval so that all hold together at `level`: between `level` (one contrast) and Bonferroni's."""
    if len(differences) < 2:
        return level
    clustering = Clustering.of(labels)
    clusters = clustering.clusters
    pull_JK = np.stack([_pull(values, clustering) for values in differences])
    size_J = np.sqrt(np.square(pull_JK).sum(1))
    moving_JK = pull_JK[size_J > 0] / size_J[size_J > 0, None]
    if clusters < FEWEST_CLUSTERS or len(moving_JK) == 0:
        return _bonferroni(level, len(differences))
    generator = np.random.default_rng([seed, clusters, len(moving_JK)])
    largest_B = np.abs(generator.standard_normal((DRAWS, clusters)) @ moving_JK.T).max(1)
    largest_B /= np.sqrt(generator.chisquare(clustering.freedom, DRAWS) / clustering.freedom)
    each = 1 - 2 * float(student.sf(np.quantile(largest_B, level), clustering.freedom))
    constant = len(differences) - len(moving_JK)  # contrasts without spread have no correlation: Bonferroni's correction for them
    each = 1 - (1 - each) * len(moving_JK) / (len(moving_JK) + constant)
    return min(max(each, level), _bonferroni(level, len(differences)))


def smallest_detectable(
    differences_Q: Float, labels: Sequence[str], *, level: float = LEVEL, power: float = POWER, seed: int = 0
) -> float | None:
    """The true difference in points at which the interval excludes 0 with probability `power`; None if it cannot be estimated.

    It is (t_{(1 + level) / 2} + t_{power}) se with the degrees of freedom of `Clustering.freedom`. If there is an interval, se is its
    half-width divided by the first quantile.
    """
    data = clustered(differences_Q, labels)
    if data is None or data.clustering.clusters < 2:
        return None
    freedom = data.clustering.freedom
    quantile = float(student.ppf((1 + level) / 2, freedom))
    interval = paired_interval(differences_Q, labels, level=level, seed=seed)
    error = data.standard_error if interval is None else (interval.high - interval.low) / 2 / quantile
    return (quantile + float(student.ppf(power, freedom))) * error if error > 0 else None


def _pull(values_Q: Float, clustering: Clustering) -> Float:
    """Each cluster's contribution [K] to the error of the mean; questions without a score contribute 0."""
    known_Q = ~np.isnan(values_Q)
    if not known_Q.any() or np.ptp(values_Q[known_Q]) == 0:  # equal values differ from their mean by rounding alone
        return np.zeros(clustering.clusters)
    return clustering.sums(np.where(known_Q, values_Q - values_Q[known_Q].mean(), 0.0))


def _bonferroni(level: float, contrasts: int) -> float:
    return 1 - (1 - level) / max(1, contrasts)
