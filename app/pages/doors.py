"""The doors of the pages: who is signed in, that a change came from our own form, and failures as pages that say what to do.

Routers are made by `page_router`, so a page without a session check cannot be written by accident: it takes the `open_to_all` decorator.
"""

import hmac
import math
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote, urlsplit

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from fastapi.types import DecoratedCallable
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from app.auth.viewer import Viewer
from app.db import asker
from app.errors import Problem
from app.http.access import Handler
from app.http.context import context_of
from app.http.uploads import MOST_PARTS
from app.pages import sessions
from app.pages.rendering import HEADERS, page
from app.storage.base import StorageError

LARGEST_FORM = 64_000
MOST_FIELDS = 400


def open_to_all(endpoint: DecoratedCallable) -> DecoratedCallable:
    """Marks a page that is shown without a session. Its changes must come from our own pages all the same."""
    endpoint.__dict__["open_to_all"] = True
    return endpoint


class PageRoute(APIRoute):
    """A page: knows who is signed in before it reads anything, and answers failures as pages."""

    def get_route_handler(self) -> Handler:
        """The usual handler behind the checks."""
        handler = super().get_route_handler()
        open_ = getattr(self.endpoint, "open_to_all", False)
        files = getattr(self.endpoint, "takes_files", False)

        async def guarded(request: Request) -> Response:
            try:
                await _enter(request, open_to_all=open_, files=files)
                return await handler(request)
            except EXPECTED as error:
                problem = _problem(request, error)
            finally:
                await request.close()  # files of a form
            return to_sign_in(request) if problem.status == 401 else failed(request, problem)

        return guarded


EXPECTED = (Problem, RequestValidationError, HTTPException, OperationalError, InterfaceError, PoolTimeout, StorageError)
"""What is answered with a page; anything else is a mistake of ours, which the gate logs."""


def _problem(request: Request, error: Exception) -> Problem:
    """What went wrong, for the page."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return Problem(error.status_code, "malformed_request", str(error.detail))
    if isinstance(error, StorageError):
        detail = "The object store does not answer. Reload this page in a few seconds; tell an administrator if it stays."
        return Problem(503, "storage_unavailable", detail)
    return Problem(503, *context_of(request).database.explain(error))


async def _enter(request: Request, *, open_to_all: bool, files: bool) -> None:
    """Raises Problem: signed_out; 403 for a change that our own page did not send; 413 for a form that is too long."""
    viewer = await sessions.viewer_of(request)
    if viewer is not None:
        request.state.viewer = viewer
        asker.set(viewer.owner)
        structlog.contextvars.bind_contextvars(key_id=viewer.key_id)
    elif not open_to_all:
        raise Problem(401, "signed_out", "Your session has ended. Sign in again.")
    if request.method == "POST":
        _check_form(request, math.inf if files else LARGEST_FORM)  # the gate bounds uploads
        form = await request.form(max_files=MOST_PARTS if files else 0, max_fields=MOST_FIELDS)
        shown = str(form.get("csrf", ""))
        if not open_to_all and not hmac.compare_digest(shown.encode(), sessions.csrf_token(request).encode()):
            raise _forged()


def _check_form(request: Request, largest: float) -> None:
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and int(length) <= largest):
        raise Problem(413, "body_too_large", f"The form is too long: this page allows {LARGEST_FORM:,} bytes.")
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise _forged()
    elif origin is not None and urlsplit(origin).hostname != request.url.hostname:  # a proxy may drop the port from Host
        raise _forged()


def _forged() -> Problem:
    detail = "This change did not come from a page of your session. Nothing was changed. Open the page again and repeat it."
    return Problem(403, "wrong_form", detail)


def to_sign_in(request: Request) -> Response:
    """The way to the sign-in page and back here. A part of a page makes the whole page go there."""
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={**HEADERS, "HX-Refresh": "true"})
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "") if request.method == "GET" else "/"
    next_ = "" if asked == "/" else f"?next={quote(asked, safe='')}"
    return RedirectResponse(f"/sign-in{next_}", 303, headers=HEADERS)


def failed(request: Request, problem: Problem) -> Response:
    """What went wrong, as a page; a part of a page is left as it is, and the script says that it is out of date."""
    if request.headers.get("hx-request") == "true":
        return Response(problem.detail, problem.status, headers=HEADERS, media_type="text/plain")
    titles = {403: "Not allowed", 404: "Nothing here for you", 409: "Not possible now", 503: "The service is busy or down"}
    title = titles.get(problem.status, HTTPStatus(problem.status).phrase)
    answer = page(request, "failed.jinja", problem.status, title=title, problem=problem)
    answer.headers.update(problem.headers)
    return answer


def _invalid(error: RequestValidationError) -> Problem:
    place = error.errors()[0]["loc"]
    if place[0] == "path":
        return Problem(404, "not_found", "There is nothing at this address that you may see.")
    return Problem(
        422, "invalid_address", f"The address holds a value that cannot be used: {place[-1]}. Open the page without it."
    )


async def _signed_in(request: Request) -> Viewer:
    viewer: Viewer = request.state.viewer
    return viewer


Reader = Annotated[Viewer, Depends(_signed_in)]
"""Who is signed in."""


async def _changes(viewer: Reader) -> Viewer:
    if not viewer.may("submit"):
        raise Problem(
            403, "forbidden", "Your key can read but not change anything. An administrator can make a key with more rights."
        )
    return viewer


Changer = Annotated[Viewer, Depends(_changes)]
"""Who is signed in, with a key that may change what is theirs. Raises Problem 403."""


async def _administers(viewer: Reader) -> Viewer:
    if not viewer.is_admin:
        raise Problem(
            403, "forbidden", "This page is for administrators. Ask one of them, or sign in with an administrator's key."
        )
    return viewer


Administrator = Annotated[Viewer, Depends(_administers)]
"""Who is signed in, with an administrator's key. Raises Problem 403."""


def page_router() -> APIRouter:
    """A router of pages: each needs a session unless it is `open_to_all`. Pages are no part of the API's description."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)
