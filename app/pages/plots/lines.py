"""Draws lines over a number, with bands of intervals, marks and thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from app.pages.plots.elements import Figure, colour, drawing, element, line, linked, text
from app.pages.plots.scales import Axis, linear, logarithmic
from app.pages.wording import number

WIDTH, HEIGHT = 420.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 12.0, 10.0, 36.0


@dataclass(frozen=True)
class Series:
    """A line through points (x, y); `band` contains (x, low, high) where there is an interval. `name` appears in the legend.

    `links`: the address of each point, or empty.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    quiet: bool = False
    links: Sequence[str] = ()

    @property
    def has_area(self) -> bool:
        """Returns whether a band can be seen: two points or more, and an interval that is wider than a point."""
        return len(self.band) > 1 and any(low < high for _, low, high in self.band)


@dataclass(frozen=True)
class Axes:
    """The names of the axes and their scales."""

    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Marks:
    """Marked levels (y, words) and positions (x, words)."""

    levels: Sequence[tuple[float, str]] = field(default_factory=tuple)
    places: Sequence[tuple[float, str]] = field(default_factory=tuple)


def lines(title: str, note: str, series: Sequence[Series], axes: Axes, marks: Marks | None = None) -> Figure | None:
    """Returns the plot; None without a point to draw."""
    marks = marks or Marks()
    points = [point for curve in series for point in curve.points]
    if not points:
        return None
    xs = [x for x, _ in points] + [x for x, _ in marks.places]
    ys = [y for _, y in points] + [end for curve in series for _, *ends in curve.band for end in ends]
    x = (logarithmic if axes.log_x else linear)(xs, LEFT, WIDTH - RIGHT)
    y = _vertical(ys, axes)
    parts = _frame(x, y, axes)
    for index, curve in enumerate(series):
        parts += _drawn(curve, x, y, colour(index))
    parts += _marks(x, y, marks)
    legend = [(colour(index), curve.name) for index, curve in enumerate(series)]
    return Figure(
        title,
        note,
        drawing(WIDTH, HEIGHT, f"{title}. {note}", parts, links=any(curve.links for curve in series)),
        legend if len(series) > 1 else [],
    )


def _vertical(values: Sequence[float], axes: Axes) -> Axis:
    if axes.y_range is not None:
        return Axis(*axes.y_range, HEIGHT - BOTTOM, TOP)
    return (logarithmic if axes.log_y else linear)(values, HEIGHT - BOTTOM, TOP)


def _frame(x: Axis, y: Axis, axes: Axes) -> list[Markup]:
    parts = []
    for value, label in y.labels():
        parts += [
            line(LEFT, y.at(value), WIDTH - RIGHT, y.at(value), "grid"),
            text(LEFT - 6, y.at(value) + 4, label, anchor="end"),
        ]
    parts += [text(x.at(value), HEIGHT - BOTTOM + 15, label) for value, label in x.labels()]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, axes.x, class_="axis"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    rotated = element("text", axes.y, transform=f"translate(11 {middle:.0f}) rotate(-90)", text_anchor="middle", class_="axis")
    return [*parts, rotated]


def _marks(x: Axis, y: Axis, marks: Marks) -> list[Markup]:
    parts = []
    for level, said in marks.levels:
        parts += [
            line(LEFT, y.at(level), WIDTH - RIGHT, y.at(level), "level"),
            text(WIDTH - RIGHT - 2, y.at(level) + (13 if y.at(level) < TOP + 14 else -4), said, anchor="end", class_="tick said"),
        ]
    for place, said in marks.places:
        at = x.at(place)
        anchor = "end" if at > WIDTH * 0.7 else "start"
        parts += [
            line(at, TOP, at, HEIGHT - BOTTOM, "place"),
            text(at + (-4 if anchor == "end" else 4), HEIGHT - BOTTOM - 6, said, anchor=anchor, class_="tick said"),
        ]
    return parts


def _drawn(curve: Series, x: Axis, y: Axis, class_: str) -> list[Markup]:
    look = f"{class_} quiet" if curve.quiet else class_
    parts = []
    if curve.has_area:
        upper = [f"{x.at(at):.1f},{y.at(high):.1f}" for at, _, high in curve.band]
        lower = [f"{x.at(at):.1f},{y.at(low):.1f}" for at, low, _ in reversed(curve.band)]
        parts.append(element("polygon", points=" ".join(upper + lower), class_=f"band {look}"))
    path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in curve.points)
    parts.append(element("polyline", points=path, class_=f"line {look}"))
    for (a, b), href in zip(curve.points, curve.links or [""] * len(curve.points), strict=True):
        said = f"{curve.name}: {number(b)} at {number(a)}"
        dot = element("circle", element("title", said), cx=x.at(a), cy=y.at(b), r=2.6, class_=f"dot {look}")
        parts.append(linked(dot, href, f"{said}, its answers"))
    return parts
