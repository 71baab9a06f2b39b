"""Estimates a job's device time from earlier jobs of its kind on the same model: a fixed part (loading) and a part proportional to size.

    seconds = fixed + each x size        least squares over earlier jobs, neither part below 0

If all earlier jobs are of similar size, the two parts cannot be separated: seconds are then proportional to size, and only jobs of similar
size get an estimate. None means that the time is unknown.
"""

from collections.abc import Sequence

SPREAD = 2.0
"""Minimum ratio of the largest to the smallest known size for which the two parts can be separated."""
NEAR, FAR = 4.0, 10.0
"""Largest ratio of an estimated size to the largest known size: NEAR for proportional estimates (and downwards from the smallest), FAR with
both parts known.
"""

Known = Sequence[tuple[float, float]]
"""Pairs (size, device seconds) of earlier jobs."""


def seconds_for(known: Known, size: float) -> float | None:
    """Returns the device seconds of a job of this size, rounded to 0.1 s; None when earlier jobs do not allow an estimate."""
    known = [(known_size, seconds) for known_size, seconds in known if known_size > 0]
    if not known or size <= 0:
        return None
    smallest, largest = min(known_size for known_size, _ in known), max(known_size for known_size, _ in known)
    if largest < SPREAD * smallest:
        if not smallest / NEAR <= size <= largest * NEAR:
            return None
        return round(size * sum(seconds for _, seconds in known) / sum(known_size for known_size, _ in known), 1)
    if size > largest * FAR:
        return None
    fixed, each = _parts(known)
    return round(fixed + each * size, 1)


def _parts(known: Known) -> tuple[float, float]:
    """Returns the fixed seconds and the seconds per unit of size."""
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
