"""Guards the pages: checks sessions, checks that changes come from our own forms, and shows errors as pages that say what to do.

Create routers with `page_router`, so that no page lacks a session check by accident; only the decorator `open_to_all` removes the check.
"""

import hmac
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

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
from app.http.gate import body_limit, split_origin
from app.http.uploads import MOST_PARTS
from app.pages import sessions
from app.pages.rendering import HEADERS, page
from app.storage.base import StorageError

LARGEST_FORM = 64_000
MOST_FIELDS = 400


def open_to_all(endpoint: DecoratedCallable) -> DecoratedCallable:
    """Marks a page that needs no session. Its changes must still come from our own pages."""
    endpoint.__dict__["open_to_all"] = True
    return endpoint


class PageRoute(APIRoute):
    """A route of a page: checks the session before it reads anything, and shows errors as pages."""

    def get_route_handler(self) -> Handler:
        """Returns FastAPI's handler, preceded by the checks."""
        handler = super().get_route_handler()
        open_ = getattr(self.endpoint, "open_to_all", False)
        files = getattr(self.endpoint, "takes_files", False)

        async def guarded(request: Request) -> Response:
            try:
                async with AsyncExitStack() as held:
                    await _enter(request, held if files else None, open_to_all=open_)
                    return await handler(request)
            except EXPECTED as error:
                problem = _problem(request, error)
            finally:
                await request.close()  # closes the files of a form
            return to_sign_in(request) if problem.status == 401 else failed(request, problem)

        return guarded


EXPECTED = (Problem, RequestValidationError, HTTPException, OperationalError, InterfaceError, PoolTimeout, StorageError)
"""Errors that are shown as a page; all others are errors in this service's code, which the gate logs."""


def _problem(request: Request, error: Exception) -> Problem:
    """Returns the error as a Problem for the page."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return Problem(error.status_code, "malformed_request", str(error.detail))
    if isinstance(error, StorageError):
        detail = "The object store does not answer. Reload this page in a few seconds; tell an administrator if this continues."
        return Problem(503, "storage_unavailable", detail)
    return Problem(503, *context_of(request).database.explain(error))


async def _enter(request: Request, uploads: AsyncExitStack | None, *, open_to_all: bool) -> None:
    """Checks a request. `uploads`: for a page that takes files, what holds the user's place among the uploads until the page has answered.

    Raises Problem: signed_out; 403 for a change that our own page did not send or the key does not allow; 413 for a form that is too long;
    for an upload also those of `Uploads.place`.
    """
    viewer = await sessions.viewer_of(request)
    if viewer is not None:
        request.state.viewer = viewer
        asker.set(viewer.owner)
        structlog.contextvars.bind_contextvars(key_id=viewer.key_id)
    elif not open_to_all:
        raise Problem(401, "signed_out", "Your session has ended. Sign in again.")
    if request.method == "POST":
        context = context_of(request)
        _check_form(request, LARGEST_FORM if uploads is None else body_limit(request.headers, context.settings.limit))
        if uploads is not None:  # before the body is read, as for uploads to the API
            submitter = await _changes(await _signed_in(request))
            await uploads.enter_async_context(context.uploads.place(request, submitter.owner))
        form = await request.form(max_files=0 if uploads is None else MOST_PARTS, max_fields=MOST_FIELDS)
        shown = str(form.get("csrf", ""))
        if not open_to_all and not hmac.compare_digest(shown.encode(), sessions.csrf_token(request).encode()):
            raise _forged()


def _check_form(request: Request, largest: int) -> None:
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and int(length) <= largest):
        raise Problem(
            413, "body_too_large", f"The form is too long, or does not state its length: this page allows {largest:,} bytes."
        )
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise _forged()
    elif origin is not None and split_origin(origin).hostname != request.url.hostname:  # a proxy may drop the port from Host
        raise _forged()


def _forged() -> Problem:
    detail = "This change did not come from a page of your session. Nothing was changed. Open the page again and repeat it."
    return Problem(403, "wrong_form", detail)


def to_sign_in(request: Request) -> Response:
    """Redirects to the sign-in page, which leads back here. A request for a part of a page reloads the whole page."""
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={**HEADERS, "HX-Refresh": "true"})
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "") if request.method == "GET" else "/"
    next_ = "" if asked == "/" else f"?next={quote(asked, safe='')}"
    return RedirectResponse(f"/sign-in{next_}", 303, headers=HEADERS)


def failed(request: Request, problem: Problem) -> Response:
    """Shows an error as a page; for a part of a page, leaves the part unchanged, and the script marks it as out of date."""
    if request.headers.get("hx-request") == "true":
        return Response(problem.detail, problem.status, headers=HEADERS, media_type="text/plain")
    titles = {403: "Not allowed", 404: "Not found", 409: "Not possible now", 503: "The service is busy or down"}
    title = titles.get(problem.status, HTTPStatus(problem.status).phrase)
    answer = page(request, "failed.jinja", problem.status, title=title, problem=problem)
    answer.headers.update(problem.headers)
    return answer


def _invalid(error: RequestValidationError) -> Problem:
    place = error.errors()[0]["loc"]
    name = next(part for part in reversed(place) if isinstance(part, str))  # a number is the place in a list
    if place[0] == "path":
        return Problem(404, "not_found", "There is nothing at this address that you may see.")
    return Problem(422, "invalid_address", f"The address holds a value that cannot be used: {name}. Open the page without it.")


async def _signed_in(request: Request) -> Viewer:
    viewer: Viewer = request.state.viewer
    return viewer


Reader = Annotated[Viewer, Depends(_signed_in)]
"""The signed-in user."""


async def _changes(viewer: Reader) -> Viewer:
    if not viewer.may("submit"):
        raise Problem(
            403, "forbidden", "Your key can read but not change anything. An administrator can make a key with more rights."
        )
    return viewer


Changer = Annotated[Viewer, Depends(_changes)]
"""The signed-in user, with a key that may change their own objects. Raises Problem 403."""


async def _administers(viewer: Reader) -> Viewer:
    if not viewer.is_admin:
        raise Problem(
            403, "forbidden", "This page is for administrators. Ask one of them, or sign in with an administrator's key."
        )
    return viewer


Administrator = Annotated[Viewer, Depends(_administers)]
"""The signed-in user, with an administrator's key. Raises Problem 403."""


def page_router() -> APIRouter:
    """Returns a router of pages: each needs a session unless it is `open_to_all`. Pages are not in the OpenAPI document."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)
