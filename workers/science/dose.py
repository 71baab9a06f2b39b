"""Converts between coefficient and dose of a push (docs/science.md, 4.2). The dose is the norm of the push outside the massive
dims, in units of the residual stream's clean norm.

    r = c |v_clean| / clean_norm      r_raw = c / clean_norm      (|v| = 1)

Vectors are compared at equal r (matched dose); equal c is not a fair comparison. With several layers r is per layer and the doses' sum is stored
too. For the residual stream and its contributions the unit is the calibration's clean norm of the layer; raw outputs, keys and values use their
own median norm. Works without tensors: the caller provides the norms.
"""

import math

NO_CLEAN_DOSE = 0.01
"""A vector with a smaller share of its squared norm outside the massive dims has no clean dose; this is reported, and the share is never a
divisor."""


def has_clean_dose(clean_share: float) -> bool:
    """Whether enough of a unit vector lies outside the massive dims to measure a dose; `clean_share` is its |v_clean|."""
    return clean_share**2 >= NO_CLEAN_DOSE


def dose_of(c: float, clean_share: float, unit_norm: float) -> float:
    """r of a raw coefficient; NaN for a vector without a clean dose. `unit_norm` is the layer's clean norm."""
    return c * clean_share / unit_norm if has_clean_dose(clean_share) else math.nan


def coefficient_of(r: float, clean_share: float, unit_norm: float) -> float | None:
    """c of a dose; None for a vector without a clean dose."""
    return r * unit_norm / clean_share if has_clean_dose(clean_share) else None
