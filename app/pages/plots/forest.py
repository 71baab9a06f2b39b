"""Draws a forest plot: one row per method, its value with its interval, and the line of no effect."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.pages.plots.elements import Figure, drawing, element, line, linked, text
from app.pages.plots.scales import linear
from app.pages.wording import interval, points

ROW, RIGHT, TOP, BOTTOM = 24.0, 130.0, 6.0, 36.0
PLOT = 300.0
"""Pixels between the ends of the axis."""
LETTER, SHORTEST, LONGEST = 6.2, 190.0, 400.0
"""Pixels: width of a letter, and the least and most width for the names of rows."""
MOST = int((LONGEST - 10) / LETTER)
"""Most letters of a name."""


@dataclass(frozen=True)
class Estimate:
    """A row of the plot. `look`: `method`, `control`, or `leader`."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    look: str = "method"
    href: str = ""


def forest(title: str, note: str, rows: Sequence[Estimate], axis: str) -> Figure | None:
    """Returns the plot; None without rows."""
    if not rows:
        return None
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    left = min(LONGEST, max(SHORTEST, 10 + LETTER * max(len(row.name) for row in rows)))
    right = left + PLOT
    x = linear(ends, left, right, zero=True)
    bottom = TOP + ROW * len(rows)
    parts = []
    for value, label in x.labels():
        parts += [line(x.at(value), TOP, x.at(value), bottom, "grid"), text(x.at(value), bottom + 14, label)]
    parts.append(line(x.at(0), TOP, x.at(0), bottom, "zero"))
    for at, row in enumerate(rows):
        y = TOP + ROW * (at + 0.5)
        name = row.name if len(row.name) <= MOST else f"{row.name[: MOST - 1]}\N{HORIZONTAL ELLIPSIS}"
        parts.append(text(left - 10, y + 4, name, anchor="end", class_=f"row {row.look}"))
        if row.low is not None and row.high is not None:
            parts.append(line(x.at(row.low), y, x.at(row.high), y, f"whisker {row.look}"))
        said = f"{points(row.value)}{interval(row.low, row.high)}"
        parts.append(element("circle", cx=x.at(row.value), cy=y, r=4.2, class_=f"estimate {row.look}"))
        number = text(right + 10, y + 4, said, anchor="start", class_=f"row {row.look}")
        parts.append(linked(number, row.href, f"{row.name}: {said}, its answers"))
    parts.append(text((left + right) / 2, bottom + 30, axis, class_="axis"))
    return Figure(
        title,
        note,
        drawing(right + RIGHT, bottom + BOTTOM, f"{title}. {note}", parts, links=any(row.href for row in rows)),
        wide=True,
    )
