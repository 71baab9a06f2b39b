"""Medians, percentiles and rounding, as every calibration computes them (docs/science.md, 2.2). Plain numpy."""

import math

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def lower_median(values: Float, axis: int = -1) -> Float:
    """The median along `axis`; for an even number of values the lower of the middle two, like torch.median. The values must not be NaN."""
    middle = (values.shape[axis] - 1) // 2
    return np.asarray(np.take(np.partition(values, middle, axis=axis), middle, axis=axis))


def percentile(values: Float, q: float) -> float:
    """The q-th percentile (0-100) with linear interpolation between the two nearest values."""
    return float(np.percentile(values, q, method="linear"))


def decimals(value: float, places: int) -> float:
    """Rounds `value` to `places` decimals, never -0.0. Raises ValueError on NaN and infinities, which a calibration must not contain."""
    if not math.isfinite(value):
        raise ValueError(f"a calibration cannot hold {value}")
    return round(float(value), places) + 0.0


def significant(value: float, digits: int) -> float:
    """Rounds `value` to `digits` significant digits. Raises ValueError on NaN and infinities."""
    if not math.isfinite(value):
        raise ValueError(f"a calibration cannot hold {value}")
    return float(f"{value:.{digits - 1}e}")
