"""The environment of templates, for pages and for reports. It knows nothing of HTTP.

Everything that came from a request, a model or a file is escaped, and its control characters are written out.
"""

from datetime import datetime
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.pages.wording import duration, number, points, size, when
from binnacle.words.visible import visible

TEMPLATES = Path(__file__).resolve().parent / "templates"

Value = TypeVar("Value")


def environment(*folders: Path) -> Environment:
    """Templates of these folders, the first that has a name."""
    made = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"time": time_tag, "size": size, "duration": duration, "number": number, "points": points}
    return made


def _shown(value: Value) -> Value | str:
    """A text with its control and bidi characters written out; line breaks stay, as answers of models have them."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "\n".join(visible(line) for line in value.splitlines()) if "\n" in value else visible(value)


def time_tag(moment: datetime | None) -> Markup:
    """A time of day in UTC, which the page's script shows in the viewer's zone."""
    if moment is None:
        return Markup()
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), when(moment))
