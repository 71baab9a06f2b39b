"""SVG elements as escaped text, and figures: a drawing with its title, note and legend."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from binnacle.words.visible import visible

COLOURS = 8
"""Number of colour classes, `s0` to `s7`, in the style sheet."""


@dataclass(frozen=True)
class Figure:
    """A plot: its title, how to read it, the drawing, and the names of its colours."""

    title: str
    note: str
    drawing: Markup
    legend: list[tuple[str, str]] = field(default_factory=list)
    wide: bool = False


def element(name: str, inside: str | Iterable[Markup] = "", **attributes: str | float | None) -> Markup:
    """Returns an SVG element. `class_` is written `class`, `stroke_width` `stroke-width`; floats are rounded to tenths of a pixel."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items() if value is not None
    )
    if isinstance(inside, Markup):
        content: str = inside
    else:
        content = escape(visible(inside)) if isinstance(inside, str) else "".join(inside)
    return Markup(f"<{name}{written}>{content}</{name}>")


def _value(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return str(value) if isinstance(value, int) else escape(str(value))


def text(x: float, y: float, words: str, *, anchor: str = "middle", class_: str = "tick") -> Markup:
    """Returns a text at a position; `anchor`: start, middle or end."""
    return element("text", words, x=float(x), y=float(y), text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Returns a straight line."""
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def linked(inside: Markup, href: str, words: str) -> Markup:
    """Returns the mark as a link that screen readers call `words`; unchanged without an address."""
    return element("a", inside, href=href, aria_label=visible(words)) if href else inside


def drawing(width: float, height: float, label: str, parts: Iterable[Markup], *, links: bool = False) -> Markup:
    """Returns the whole drawing; `label` is for screen readers. `links`: some marks are links, so that it is more than an image."""
    return element(
        "svg", parts, viewBox=f"0 0 {width:.0f} {height:.0f}", width=int(width), height=int(height), role="group" if links else "img",
        aria_label=visible(label), xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def colour(index: int) -> str:
    """Returns the colour class of the n-th series."""
    return f"s{index % COLOURS}"
