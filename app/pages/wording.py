"""Formats numbers, times and sizes for people."""

from collections.abc import Sequence
from datetime import UTC, datetime

from binnacle.words.rounding import MARGINS, decimals


def duration(seconds: float) -> str:
    """Returns a duration as `42 s`, `3 min`, `2.5 h`; at least one second."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def age(seconds: float) -> str:
    """Returns a duration that grows, to the minute, so that a page with it stays the same for a while: `under 2 min`, `3 min`."""
    return "under 2 min" if seconds < 90 else duration(seconds)


def size(count: int) -> str:
    """Returns bytes as `812 B`, `3.4 kB`, `12 MB`, `24 GB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000  # type: ignore[assignment]
    return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"


def when(moment: datetime) -> str:
    """Returns a time in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def number(value: float | None, digits: int = 3) -> str:
    """Returns `digits` significant digits, or a whole number with commas if it has more; empty without a value."""
    if value is None:
        return ""
    return f"{value:z,.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:z.{digits}g}"  # 99.6 is not 1e+02


def whole(value: float) -> str:
    """Returns a whole number with commas."""
    return f"{value:z,.0f}"


def points(value: float | None) -> str:
    """Returns a difference in points with its sign: `+92`, `-3.4`."""
    if value is None:
        return ""
    shown = f"{value:+z.0f}" if abs(value) >= 10 else f"{value:+z.1f}"
    return "0" if float(shown) == 0 else shown.replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    """Returns a share as `81 %`; a share below 1 is never shown as 100 %."""
    if 0.995 <= share < 1:
        return "over 99 %"
    return f"{100 * share:z.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.2g} %"


def interval(low: float | None, high: float | None) -> str:
    """Returns ` [+86, +96]`, or an empty text without an interval."""
    return "" if low is None or high is None else f" [{_limit(low)}, {_limit(high)}]"


def _limit(value: float) -> str:
    """Returns `points`, with more digits for a limit that is not 0 or 10 points and would be shown as such: verdicts depend on it."""
    places = 0 if abs(value) >= 10 else 1
    enough = decimals(value, MARGINS, places)
    return points(value) if enough == places else f"{value:+z.{enough}f}".replace("-", "\N{MINUS SIGN}")


def shown_of(shown: int, total: int, noun: str) -> str:
    """Returns ` Shown are 8 of 12 methods.` with the noun in the plural, or an empty text if all are shown."""
    return f" Shown are {shown:,} of {total:,} {noun}." if shown < total else ""


def listed(names: Sequence[str], most: int = 3) -> str:
    """Returns `a, b and c`; beyond `most`, `a, b, c and 4 more`."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""
