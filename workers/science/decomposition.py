"""What the massive part of a mean-based vector is (science: What the massive part is): noise, an inert class difference, or signal.

Three arms at the c each part has inside v: v_clean alone, the massive part alone, both. Signal: the massive part moves the trait, alone or on
top of the clean part. If it does not, its class difference is real (inert) where |z| >= 4, and noise where sampling alone explains at least a
quarter of its square or |z| < 2; between them it is unclear.
"""

from collections.abc import Mapping
from typing import Any

from workers.science.intervals import Interval

SURE_Z, NOISE_Z, NOISE_SHARE = 4.0, 2.0, 0.25
SIGNAL = 5.0
"""Points that the massive part must move the trait by, interval and all, to be signal."""


def massive_part(alone: Interval | None, on_top: Interval | None, per_dim: Mapping[str, Mapping[str, Any]]) -> str:
    """`signal`, `inert`, `noise` or `unclear`. `alone` is the massive arm's gain, `on_top` both arms' gain minus the clean arm's.

    `per_dim` holds z and noise_share of the class difference in each massive dim.
    """
    if any(one is not None and (one.low > SIGNAL or one.high < -SIGNAL) for one in (alone, on_top)):
        return "signal"
    if alone is None or on_top is None:
        return "unclear"
    if max(abs(alone.low), abs(alone.high), abs(on_top.low), abs(on_top.high)) > 4 * SIGNAL:
        return "unclear"  # too wide to say that it does nothing
    sizes = [abs(one["z"]) for one in per_dim.values() if one.get("z") is not None]
    shares = [one["noise_share"] for one in per_dim.values() if one.get("noise_share") is not None]
    if sizes and max(sizes) >= SURE_Z:
        return "inert"
    if (shares and min(shares) >= NOISE_SHARE) or (sizes and max(sizes) < NOISE_Z):
        return "noise"
    return "unclear"
