"""Renders pages from templates, with the headers that every page has."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.http.context import context_of
from app.pages import assets, sessions
from app.pages.templating import TEMPLATES, environment

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
ENVIRONMENT = environment(TEMPLATES)
ENVIRONMENT.globals |= {"asset": assets.address}


def base_of(request: Request) -> str:
    """Returns the address at which people reach this service, without a slash at its end, for commands to copy."""
    return (context_of(request).settings.public_url or str(request.base_url)).rstrip("/")


def text_of(request: Request, template: str, **values: object) -> str:
    """Returns the HTML of a template, which has access to the signed-in user and to the path of the page (`here`)."""
    settings = context_of(request).settings
    viewer = getattr(request.state, "viewer", None)
    token = "" if viewer is None else sessions.csrf_token(request)
    html: str = ENVIRONMENT.get_template(template).render(
        viewer=viewer, csrf=token, keys=settings.auth, here=request.url.path, **values
    )
    return html


def page(request: Request, template: str, status: int = 200, /, **values: object) -> HTMLResponse:
    """Returns a whole page, or a part of a page."""
    return HTMLResponse(text_of(request, template, **values), status, headers=HEADERS)
