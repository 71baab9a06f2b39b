"""The dose of a push (science: Dose): the part of it that is not spent on a massive dim, in units of the stream without them.

    r = c |v_clean| / clean_norm      r_raw = c / clean_norm      (|v| = 1)

Equal r is what matched dose means; equal c is no comparison. With several layers r is per layer.
"""

NO_CLEAN_DOSE = 0.01
"""A vector with less of its squared norm outside the massive dims has no clean dose; it is reported so and never divided by."""


def dose_of(c: float, clean_share: float, unit_norm: float) -> float:
    """r of a raw coefficient. `clean_share` is |v_clean| of the unit vector, `unit_norm` the layer's clean norm."""
    return c * clean_share / unit_norm


def coefficient_of(r: float, clean_share: float, unit_norm: float) -> float | None:
    """c of a dose; None for a vector without a clean dose."""
    return None if clean_share**2 < NO_CLEAN_DOSE else r * unit_norm / clean_share
