"""HTML from templates. Everything that came from a request, a model or a file is escaped, and its control characters are written out."""

from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.http.context import context_of
from app.pages import assets, sessions
from app.pages.wording import duration, number, points, size, when
from binnacle.words.visible import visible

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def _shown(value: Any) -> Any:
    """A text with its control and bidi characters written out; line breaks stay, as answers of models have them."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "\n".join(visible(line) for line in value.splitlines()) if "\n" in value else visible(value)


def time_tag(moment: datetime | None) -> Markup:
    """A time of day in UTC, which the page's script shows in the viewer's zone."""
    if moment is None:
        return Markup()
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), when(moment))


ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).resolve().parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals |= {"asset": assets.address}
ENVIRONMENT.filters |= {"time": time_tag, "size": size, "duration": duration, "number": number, "points": points}


def text_of(request: Request, template: str, **values: Any) -> str:
    """The HTML of a template, which knows who is signed in."""
    settings = context_of(request).settings
    viewer = getattr(request.state, "viewer", None)
    token = "" if viewer is None else sessions.csrf_token(request)
    found: str = ENVIRONMENT.get_template(template).render(viewer=viewer, csrf=token, keys=settings.auth, **values)
    return found


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page, or a fragment of one."""
    return HTMLResponse(text_of(request, template, **values), status, headers=HEADERS)
