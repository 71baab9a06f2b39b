"""The template environment for pages and reports. Independent of HTTP.

Everything from a request, a model or a file is escaped, and its control characters are shown as escapes. Only what a form sends back keeps
them: the value of a control is filtered by `e`, the content of a `<textarea>` by `entered`.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.pages.wording import age, duration, number, points, size, when
from binnacle.words.visible import visible

TEMPLATES = Path(__file__).resolve().parent / "templates"

Value = TypeVar("Value")


def environment(*folders: Path) -> Environment:
    """Returns an environment of these folders' templates; the first folder with a name wins."""
    made = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "time": time_tag, "entered": entered, "size": size, "duration": duration, "age": age, "number": number, "points": points,
    }  # fmt: skip
    return made


def _shown(value: Value) -> Value | str:
    """Returns a text with its control and bidirectional characters shown as escapes; line breaks stay, because models' answers contain them."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "\n".join(map(visible, re.split(r"\r?\n", value)))


def entered(value: str) -> Markup:
    """Returns a text as the content of a `<textarea>`, so that a form sends the same text back, except for line breaks, which a browser
    writes in its own way. The line break before the text is not part of it: HTML drops the first line break.
    """
    return Markup("\n") + value


def time_tag(moment: datetime | None) -> Markup:
    """Returns a time in UTC as an element, which the page's script shows in the viewer's time zone."""
    if moment is None:
        return Markup()
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), when(moment))
