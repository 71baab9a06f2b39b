"""Authenticates requests by their key, before the body is read.

Create routers with `keyed_router`, so that no route lacks a key check by accident; only the decorator `public` removes the check.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from fastapi.types import DecoratedCallable

from app.audit import service as audit
from app.auth import keyless
from app.auth.viewer import ALLOWED, Role, Scope, Viewer
from app.db import asker
from app.errors import Problem
from app.http.bodies import check_json
from app.http.context import context_of
from app.http.parameters import check_parameters, parameters_of, through_the_server
from app.http.problems import path_of
from app.http.uploads import is_form

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
LOCAL = Viewer(owner="local", role="admin", key_id="")
"""The caller of every admitted request on a server without keys."""


class _Documented(HTTPBearer):
    """Describes the header in the OpenAPI document, and leaves it to `identify` to read it."""

    async def __call__(self, request: HTTPConnection) -> None:
        """Does nothing."""


bearer = _Documented(scheme_name="key", description="`Authorization: Bearer bnk_...`", auto_error=False)


def public(endpoint: DecoratedCallable) -> DecoratedCallable:
    """Marks a route that answers without a key."""
    endpoint.__dict__["public"] = True
    return endpoint


def unauthenticated() -> Problem:
    """Returns Problem 401: the request has no key, or no valid key."""
    detail = (
        "This needs a valid key: send `Authorization: Bearer bnk_...`. The key may be mistyped, expired or "
        "revoked, or its user disabled. An administrator makes new keys."
    )
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


async def identify(request: Request) -> Viewer:
    """Returns the holder of the request's key, and keeps it on the request. Raises Problem 401."""
    known: Viewer | None = getattr(request.state, "viewer", None)
    if known is not None:
        return known
    context = context_of(request)
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip() if scheme.lower() == "bearer" else ""
    if context.settings.auth == "off":
        if not keyless.admits(request, key, context.settings.local_secret.get_secret_value()):
            raise keyless.secret_missing()
        viewer: Viewer | None = LOCAL
    else:
        viewer = await context.keyring.holder(key) if key else None
    if viewer is None:
        raise unauthenticated()
    request.state.viewer = viewer
    asker.set(viewer.owner)
    structlog.contextvars.bind_contextvars(key_id=viewer.key_id)
    return viewer


class KeyedRoute(APIRoute):
    """A route that authenticates before it reads the body: a caller without a key cannot make the server parse megabytes.

    A download, that is a GET with `response_class=Response`, answers HEAD too.
    """

    def __init__(self, path: str, endpoint: Callable[..., object], **told: Any) -> None:
        if set(told.get("methods") or ()) == {"GET"} and told.get("response_class") is Response:
            told["methods"] = ["GET", "HEAD"]
            told["dependencies"] = [*(told.get("dependencies") or ()), Depends(through_the_server)]
        super().__init__(path, endpoint, **told)

    def get_route_handler(self) -> Handler:
        """Returns FastAPI's handler, preceded by `identify`."""
        handler = super().get_route_handler()
        if getattr(self.endpoint, "public", False):
            return handler

        takes_files = getattr(self.endpoint, "takes_files", False)
        parameters = parameters_of(self.dependant)

        async def keyed(request: Request) -> Response:
            viewer = await identify(request)
            if request.scope["query_string"]:
                check_parameters(request, parameters)
            if is_form(request) and not takes_files:
                raise Problem(415, "unsupported_media_type", "Send the body as Content-Type: application/json.")
            if takes_files and viewer.may("submit"):  # the route itself refuses other callers
                async with context_of(request).uploads.place(request, viewer.owner):
                    return await known(request)
            return await known(request)

        async def known(request: Request) -> Response:
            if not is_form(request):
                await check_json(request, context_of(request).settings.limit.json_values)
            return await handler(request)

        return keyed


async def authenticate(request: Request, _header: Annotated[None, Security(bearer)] = None) -> Viewer:
    """Returns the caller. `identify` reads the header; the parameter only documents it."""
    return await identify(request)


async def require_member(viewer: Annotated[Viewer, Depends(authenticate)]) -> Viewer:
    """Returns the caller if they may submit and change their own objects. Raises Problem 403."""
    if not viewer.may("submit"):
        raise Problem(403, "forbidden", f"Your key does not allow submitting: {_lacks(viewer, 'submit', 'member')}")
    return viewer


async def require_admin(request: Request, viewer: Annotated[Viewer, Depends(authenticate)]) -> Viewer:
    """Returns the caller if they administer this server. Raises Problem 403 and records the refusal in the audit log."""
    if not viewer.may("admin"):
        asked = f"{request.method} {request.scope['route'].path}"  # the route's template, because paths with names are countless
        example = path_of(request)[:200]
        await context_of(request).database.run(audit.record, viewer, "administer", asked, outcome="denied", example=example)
        raise Problem(403, "forbidden", f"This needs an administrator's key: {_lacks(viewer, 'admin', 'admin')}")
    return viewer


def _lacks(viewer: Viewer, scope: Scope, role: Role) -> str:
    """Returns why the caller lacks this scope, and who can help."""
    if scope in ALLOWED[viewer.role]:
        return f"yours has the scopes {', '.join(sorted(viewer.scopes))}, without {scope}. An administrator can make a key with more rights."
    return f"yours has the role {viewer.role}. An administrator can make a key with the role {role}."


Caller = Annotated[Viewer, Depends(authenticate)]
Member = Annotated[Viewer, Depends(require_member)]
Admin = Annotated[Viewer, Depends(require_admin)]


def keyed_router(*, prefix: str, tag: str) -> APIRouter:
    """Returns a router that requires a key on every route not marked `public`."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=KeyedRoute)
