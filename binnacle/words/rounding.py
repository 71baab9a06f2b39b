"""Rounds numbers that readers hold against a threshold, such as the ends of an interval."""

from collections.abc import Collection


def decimals(value: float, thresholds: Collection[float], places: int) -> int:
    """Returns the fewest decimals, from `places` to six more, at which the value does not round to a threshold that it is not."""
    enough = (n for n in range(places, places + 6) if all(value == t or round(value, n) != t for t in thresholds))
    return next(enough, places + 6)


def digits(value: float, thresholds: Collection[float], least: int) -> int:
    """Returns the fewest significant digits, from `least` to six more, at which the value does not round to a threshold that it is not."""
    enough = (n for n in range(least, least + 6) if all(value == t or float(f"{value:.{n}g}") != t for t in thresholds))
    return next(enough, least + 6)
