"""Rounds numbers that readers hold against a threshold, such as the ends of an interval."""

from collections.abc import Collection

MARGINS = (-10.0, 0.0, 10.0)
"""The points against which a verdict holds the limits of a difference (docs/science.md, 4.5)."""


def decimals(value: float, thresholds: Collection[float], places: int) -> int:
    """Returns the fewest decimals, from `places` to six more, at which the value does not round to a threshold that it is not."""
    enough = (n for n in range(places, places + 6) if all(value == t or round(value, n) != t for t in thresholds))
    return next(enough, places + 6)


def digits(value: float, thresholds: Collection[float], least: int) -> int:
    """Returns the fewest significant digits, from `least` to six more, at which the value does not round to a threshold that it is not."""
    enough = (n for n in range(least, least + 6) if all(value == t or float(f"{value:.{n}g}") != t for t in thresholds))
    return next(enough, least + 6)


def limit(value: float) -> float:
    """Returns the end of an interval in points as files keep it: rounded to 2 decimals, or more where it would else become one of MARGINS."""
    return round(value, decimals(value, MARGINS, 2))


def limits(low: float, high: float, places: int = 1) -> str:
    """Returns the ends of an interval in points, `[+86.0, +96.4]`, with more digits for an end that would else look like one of MARGINS."""
    return f"[{', '.join(f'{end:+z.{decimals(end, MARGINS, places)}f}' for end in (low, high))}]"
