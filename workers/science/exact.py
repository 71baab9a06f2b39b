"""Confidence limits of a mean of bounded values that are nearly all equal, where a bootstrap fails.

    value = usual + (ceiling - usual) u - (usual - floor) w + e,   u, w in [0, 1], nearly all of both 0, |e| <= 1

Judges give whole numbers or probabilities of them: values within a point of the median count as equal, and their mean is `usual`. Their
remaining differences e add Student's t limits of their own mean (0 where they are equal to the last digit). The two shares, above and below
`usual`, get mid-P binomial limits each (for differences of 0/100 scores these are the discordant pairs of McNemar's test; intermediate sizes
count as fractions, for which a binomial is the widest case), at the effective number of questions Q / deff, where deff >= 1 is the variance
among clusters over that of independent questions (Korn & Graubard 1998). Where clusters are of unequal sizes, the deff that is seen grows by
what their effective number k adds to Student's interval over K clusters of one size: by (t_{k-1} / t_{K-1})^2 (k / (k-1)) / (K / (K-1)). A few
changes say little about how similar the questions of a cluster are, so one more changed cluster of intra-cluster correlation 0.25 is averaged
in. The limits of the mean are combined by their squared distances (Zou & Donner 2008, like Newcombe's method for paired proportions). Where all
changes have the same sign and a mid-P sign test on clusters confirms it, the other direction adds nothing.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc
from scipy.stats import t as student

from workers.science.clusters import Clustering
from workers.science.linalg import Bool, Float

PRIOR_CORRELATION = 0.25
"""The intra-cluster correlation of one added pseudo-cluster: of 0, 0.25 and 0.5 the value with the best coverage at 2 % (coverage.md)."""
EQUAL_WITHIN = 1.0
"""Points: the resolution of a judge."""
_ZERO = 1e-9


def mid_p_limits(x: float, n: float, alpha: float) -> tuple[float, float]:
    """Two-sided 1 - alpha limits of a share observed as `x` of `n`, 0 <= x <= n, both real (continued through the beta function).

    P(X > x) + P(X = x) / 2 = alpha / 2 at the lower limit, and the mirror image at the upper limit (Berry & Armitage 1995).
    """

    def at_most(p: float) -> float:
        below = betainc(n - x + 1, x, 1 - p) if x > 0 else 0.0
        upto = betainc(n - x, x + 1, 1 - p) if x < n else 1.0
        return float(below + upto) / 2

    low = 0.0 if x <= 0 else brentq(lambda p: at_most(p) - (1 - alpha / 2), 0.0, 1.0, xtol=1e-10)
    high = 1.0 if x >= n else brentq(lambda p: at_most(p) - alpha / 2, 0.0, 1.0, xtol=1e-10)
    return float(low), float(high)


def equal_values(values_Q: Float) -> Bool:
    """[Q], True for values equal to the usual value: those within a point of the median."""
    return np.asarray(np.abs(values_Q - np.median(values_Q)) <= EQUAL_WITHIN)


def limits(values_Q: Float, clustering: Clustering, alpha: float, span: tuple[float, float]) -> tuple[float, float]:
    """Limits of the mean of values in `span` (floor, ceiling), when nearly all of them are equal."""
    floor, ceiling = span
    equal_Q = equal_values(values_Q)
    usual = float(values_Q[equal_Q].mean())
    deviation_Q = np.where(equal_Q, 0.0, values_Q - usual)
    up_room, down_room = ceiling - usual, usual - floor
    up, up_low, up_high = _share(deviation_Q, up_room, clustering, alpha)
    down, down_low, down_high = _share(-deviation_Q, down_room, clustering, alpha)
    more_up, more_down = up_room * (up_high - up), down_room * (down_high - down)  # how far each share may lie above its estimate
    if one_way(clustering.sums(deviation_Q), alpha):
        more_up, more_down = (more_up, 0.0) if up > 0 else (0.0, more_down)
    error = float(clustering.standard_error(np.where(equal_Q, values_Q - usual, 0.0)))
    jitter = float(student.ppf(1 - alpha / 2, clustering.clusters - 1)) * error
    estimate = float(values_Q.mean())
    low = estimate - math.hypot(up_room * (up - up_low), more_down, jitter)
    high = estimate + math.hypot(more_up, down_room * (down - down_low), jitter)
    return max(floor, low), min(ceiling, high)


def one_way(net_K: Float, alpha: float) -> bool:
    """Whether all changed clusters changed in the same direction, too many for chance: a two-sided mid-P sign test, 2^-n <= alpha."""
    up, down = int((net_K > _ZERO).sum()), int((net_K < -_ZERO).sum())
    return bool(min(up, down) == 0 and 0.5 ** max(up, down) <= alpha)


def _share(deviation_Q: Float, room: float, clustering: Clustering, alpha: float) -> tuple[float, float, float]:
    """The share of `room` that the positive deviations fill, and its limits."""
    if room <= _ZERO:
        return 0.0, 0.0, 0.0
    share_Q = np.clip(deviation_Q / room, 0.0, 1.0)
    n, p = len(share_Q), float(share_Q.mean())
    design = _design_effect(share_Q, p, clustering, alpha)
    return p, *mid_p_limits(p * n / design, n / design, alpha)


def _design_effect(share_Q: Float, p: float, clustering: Clustering, alpha: float) -> float:
    n = len(share_Q)
    # n / k = sum n_k^2 / sum n_k: the size of a question's cluster, on average
    prior = 1 + (n / clustering.effective - 1) * PRIOR_CORRELATION
    if not 0 < p < 1:
        return prior
    unequal = _squared_reach(clustering.freedom, alpha) / _squared_reach(clustering.clusters - 1, alpha)
    seen = max(1.0, float(clustering.standard_error(share_Q)) ** 2 * n / (p * (1 - p))) * unequal
    changed = int((clustering.sums(share_Q) > _ZERO).sum())
    return (changed * seen + prior) / (changed + 1)


def _squared_reach(freedom: float, alpha: float) -> float:
    """The square of Student's quantile and of what corrects the error's estimate, with so many degrees of freedom over clusters."""
    return float(student.ppf(1 - alpha / 2, freedom)) ** 2 * (freedom + 1) / freedom
