"""Classifies the massive part of a mean-based vector (docs/science.md, 4.6) as sampling noise, an inert class difference, or signal.

Three arms at the c that each part has inside v: v_clean alone, the massive part alone, both. By their gains over the unsteered answers:

    signal    the massive part moves the trait: alone, or both minus v_clean, by more than 5 points with the whole 95 % interval
    inert     the part does nothing (both of these intervals lie inside +-10 points), and is a real difference of the classes: sampling
              explains at most a ninth of its square (for one dim |z| >= 3)
    noise     the part does nothing, and sampling explains more than a ninth of its square
    unclear   the intervals are too wide, there are too few clusters for an interval, or the sampling share is not known

The sampling share is sum_d (var+/n+ + var-/n-) / sum_d delta_d^2 over the massive dims, so that a dim counts by its share of the part. The
5 points and the ninth are conventions.
"""

from collections.abc import Mapping

from terms.documents.massive import PerDim
from workers.science.intervals import Interval
from workers.science.verdicts import TIE

SIGNAL = 5.0
"""Points beyond which the whole interval of the massive part's effect must lie for it to be signal."""
REAL = 1 / 9
"""The largest share of sampling in the squared class difference at which the difference counts as real."""


def massive_part(alone: Interval | None, on_top: Interval | None, per_dim: Mapping[str, PerDim]) -> str:
    """Returns `signal`, `inert`, `noise` or `unclear`. `alone` is the massive arm's gain; `on_top` is the gain of both parts minus that of the
    clean arm, over the questions with a score in both of these arms; in points.

    `per_dim` holds `delta` and `noise_share` of the class difference in each massive dim.
    """
    if any(interval is not None and (interval.low > SIGNAL or interval.high < -SIGNAL) for interval in (alone, on_top)):
        return "signal"
    if alone is None or on_top is None or not (alone.within(TIE) and on_top.within(TIE)):
        return "unclear"
    share = sampling_share(per_dim)
    if share is None:
        return "unclear"
    return "inert" if share <= REAL else "noise"


def sampling_share(per_dim: Mapping[str, PerDim]) -> float | None:
    """The share of sampling in the squared class difference over the massive dims with a measured share, at most 1; None if no dim has one, or
    if the classes do not differ."""
    measured = [facts for facts in per_dim.values() if facts.get("noise_share") is not None]
    total = sum(facts["delta"] ** 2 for facts in measured)
    return min(1.0, sum(_error(facts) for facts in measured) / total) if total > 0 else None


def _error(facts: PerDim) -> float:
    """The squared standard error of a dim's difference, var+/n+ + var-/n-. From z, because a stored share ends at 1, where the error may be
    many times the square."""
    z = facts.get("z")
    return (facts["delta"] / z) ** 2 if z else facts["delta"] ** 2 * (facts["noise_share"] or 0.0)
