"""The dose of a push (docs/science.md, 4.2): the part of it that is not spent on a massive dim, in units of the stream without them.

    r = c |v_clean| / clean_norm      r_raw = c / clean_norm      (|v| = 1)

Equal r is what matched dose means; equal c is no comparison. With several layers r is per layer and the doses' sum is stored beside it.
The clean norm is the calibration's of the layer for the stream and what is added to it; raw outputs, keys and values are measured in their
own median norm. No tensors here: a caller brings the norms.
"""

import math

NO_CLEAN_DOSE = 0.01
"""A vector with less of its squared norm outside the massive dims has no clean dose; it is reported so and never divided by."""


def has_clean_dose(clean_share: float) -> bool:
    """Whether enough of a unit vector lies outside the massive dims for a dose to be measured; `clean_share` is its |v_clean|."""
    return clean_share**2 >= NO_CLEAN_DOSE


def dose_of(c: float, clean_share: float, unit_norm: float) -> float:
    """r of a raw coefficient; NaN for a vector without a clean dose. `unit_norm` is the layer's clean norm."""
    return c * clean_share / unit_norm if has_clean_dose(clean_share) else math.nan


def coefficient_of(r: float, clean_share: float, unit_norm: float) -> float | None:
    """c of a dose; None for a vector without a clean dose."""
    return r * unit_norm / clean_share if has_clean_dose(clean_share) else None
