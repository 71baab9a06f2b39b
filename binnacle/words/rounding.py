"""Rounds numbers that readers hold against a threshold, such as the ends of an interval."""

from collections.abc import Collection

MARGINS = (-10.0, 0.0, 10.0)
"""The points against which a verdict holds the limits of a difference (docs/science.md, 4.5)."""
FINEST = 8
"""The most decimals that are kept or shown: a value that rounds to a threshold at so many counts as that threshold."""


def decimals(value: float, thresholds: Collection[float], places: int) -> int:
    """Returns the fewest decimals, from `places` to FINEST, at which the value does not round to a threshold that it is not."""
    kept = round(value, FINEST)
    enough = (n for n in range(places, FINEST) if all(kept == t or round(value, n) != t for t in thresholds))
    return next(enough, FINEST)


def digits(value: float, thresholds: Collection[float], least: int) -> int:
    """Returns the fewest significant digits, from `least` to six more, at which the value does not round to a threshold that it is not."""
    enough = (n for n in range(least, least + 6) if all(value == t or float(f"{value:.{n}g}") != t for t in thresholds))
    return next(enough, least + 6)


def limit(value: float) -> float:
    """Returns the end of an interval in points as files keep it: rounded to 2 decimals, or to more, at most FINEST, where it would else
    become one of MARGINS."""
    return round(value, decimals(value, MARGINS, 2))


def limits(low: float, high: float, places: int = 1) -> str:
    """Returns the ends of an interval in points, `[+86.0, +96.4]`, with more digits for an end that would else look like one of MARGINS."""
    return f"[{', '.join(f'{end:+z.{decimals(end, MARGINS, places)}f}' for end in (low, high))}]"
