"""What a job would take, from earlier ones of its kind on the same model: a fixed part (loading) and a part that grows with its size.

    seconds = fixed + each x size        least squares over earlier jobs, neither part below 0

Earlier jobs that are all of about one size cannot tell the two parts apart; then seconds are in proportion to size, and only a job of about that
size has an estimate. None means unknown, and is an answer.
"""

from collections.abc import Sequence

SPREAD = 2.0
"""How many times the smallest job the largest must be for the parts to be told apart."""
NEAR, FAR = 4.0, 10.0
"""How many times the largest size known (or, in proportion, a part of the smallest) is still near enough, without and with the parts known."""

Known = Sequence[tuple[float, float]]
"""Size and device seconds of earlier jobs."""


def seconds_for(known: Known, size: float) -> float | None:
    """Device seconds of a job of this size, to a tenth; None when earlier ones do not tell."""
    known = [(one, seconds) for one, seconds in known if one > 0]
    if not known or size <= 0:
        return None
    smallest, largest = min(one for one, _ in known), max(one for one, _ in known)
    if largest < SPREAD * smallest:
        if not smallest / NEAR <= size <= largest * NEAR:
            return None
        return round(size * sum(seconds for _, seconds in known) / sum(one for one, _ in known), 1)
    if size > largest * FAR:
        return None
    fixed, each = _parts(known)
    return round(fixed + each * size, 1)


def _parts(known: Known) -> tuple[float, float]:
    """The fixed part and that of each unit of size."""
    n = len(known)
    mean_size, mean_seconds = sum(size for size, _ in known) / n, sum(seconds for _, seconds in known) / n
    each = sum((size - mean_size) * (seconds - mean_seconds) for size, seconds in known)
    each /= sum((size - mean_size) ** 2 for size, _ in known)
    fixed = mean_seconds - each * mean_size
    if each < 0:
        return mean_seconds, 0.0
    if fixed < 0:
        return 0.0, sum(size * seconds for size, seconds in known) / sum(size**2 for size, _ in known)
    return fixed, each
