"""Compares measured differences. NaN and infinity raise an error, so that they never pass a limit."""

import math

from workers.lm.errors import ModelFault


def larger(one: float, other: float) -> float:
    """The larger of two differences. Raises ModelFault activations_not_finite for NaN and infinities, which `max` would ignore."""
    if not (math.isfinite(one) and math.isfinite(other)):
        what = "Hidden states are NaN or infinite. In float16 a massive dimension overflows (beyond 65,504): use another type."
        raise ModelFault("activations_not_finite", what)
    return max(one, other)
