"""Draws a heat map: a shade for each cell of rows and columns."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from app.pages.plots.elements import Figure, drawing, element, linked, text
from app.pages.wording import number

SHADES = 9
"""Number of shade classes, `h0` to `h8`, in the style sheet."""
CELL, WIDEST, ROW = 30.0, 620.0, 20.0
"""Pixels: most width of a cell among more than 10 columns, most width of all cells, and height of a row."""
TOP, BOTTOM, NARROWEST = 6.0, 36.0, 420.0
"""Pixels: space above and below the cells, and least width of the drawing."""
LETTER, LONGEST = 6.1, 190.0
"""Pixels: width of a letter, and the most width for the names of rows."""
LABELLED = 32.0
"""Least width of a cell, in pixels, for its value to be written in it."""


def heat(  # noqa: PLR0913 - the parts of one drawing
    title: str,
    note: str,
    cells: Mapping[tuple[str, str], float],
    rows: Sequence[str],
    columns: Sequence[str],
    axis: str,
    *,
    ends: tuple[float, float] | None = None,
    log: bool = False,
    shown: str = "",
    links: Mapping[tuple[str, str], str] | None = None,
) -> Figure | None:
    """Returns the heat map with rows from top to bottom; None without cells.

    `cells` maps (row, column) to a value; cells without a value stay empty. `axis` names the columns. `ends`: the values of the lightest and
    darkest shade; by default the smallest and largest value. `log`: shades are even in the logarithm of the value. `shown` follows the value in
    a cell's tooltip, such as its unit. `links`: addresses of cells.
    """
    if not cells:
        return None
    width = min(WIDEST / len(columns), 64.0 if len(columns) <= 10 else CELL)
    left = min(LONGEST, max(50.0, 12 + LETTER * max(map(len, rows))))
    low, high = ends or (min(cells.values()), max(cells.values()))
    total = max(NARROWEST, left + width * len(columns) + 10)
    parts = []
    for at, row in enumerate(rows):
        parts.append(text(left - 6, TOP + ROW * at + 14, _cut(row), anchor="end"))
        for place, column in enumerate(columns):
            value = cells.get((row, column))
            if value is None:
                continue
            shade = _shade(value, low, high, log=log)
            said = element("title", f"{row}, {axis} {column}: {number(value)} {shown}".strip())
            x, y = left + width * place, TOP + ROW * at
            mark = [element("rect", said, x=x, y=y, width=width - 1, height=ROW - 1, class_=f"cell h{shade}")]
            if width >= LABELLED:
                mark.append(text(x + width / 2 - 0.5, y + 14, _value(value), class_=f"value on{shade}"))
            href = (links or {}).get((row, column), "")
            parts.append(linked(Markup("").join(mark), href, f"{row}, {axis} {column}: {number(value)}, its answers"))
    step = math.ceil(26 / width)
    bottom = TOP + ROW * len(rows)
    parts += [text(left + width * (at + 0.5), bottom + 14, name) for at, name in enumerate(columns) if at % step == 0]
    parts.append(text(left + width * len(columns) / 2, bottom + 30, axis, class_="axis"))
    return Figure(title, note, drawing(total, bottom + BOTTOM, f"{title}. {note}", parts, links=bool(links)), wide=total > 440)


def _cut(name: str) -> str:
    """Returns a name cut to fit; the tooltips of the row's cells have the full name."""
    most = int((LONGEST - 12) / LETTER)
    return name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _value(value: float) -> str:
    """Returns a value with two digits; values between 0 and 0.01 as `<.01`."""
    return "<.01" if 0 < value < 0.01 else number(value, 2)


def _shade(value: float, low: float, high: float, *, log: bool) -> int:
    if log:
        value, low, high = (math.log(max(raw, 1e-9)) for raw in (value, low, high))
    share = (value - low) / (high - low) if high > low else 1.0
    return min(SHADES - 1, max(0, int(share * SHADES)))
