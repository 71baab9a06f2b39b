"""Authenticates requests by their key, before the body is read.

Routers are made by `keyed_router`, so that a route without a key check cannot be written by accident: it takes the `public` decorator.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.types import DecoratedCallable

from app.audit import service as audit
from app.auth import keyless
from app.auth.viewer import ALLOWED, Role, Scope, Viewer
from app.db import asker
from app.errors import Problem
from app.http.bodies import check_json
from app.http.context import context_of
from app.http.problems import path_of
from app.http.uploads import is_form

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
LOCAL = Viewer(owner="local", role="admin", key_id="")
"""Whoever may ask a server without keys."""

bearer = HTTPBearer(scheme_name="key", description="`Authorization: Bearer bnk_...`", auto_error=False)


def public(endpoint: DecoratedCallable) -> DecoratedCallable:
    """Marks a route that answers without a key."""
    endpoint.__dict__["public"] = True
    return endpoint


def unauthenticated() -> Problem:
    """401: no key, or none that opens anything."""
    detail = (
        "This needs a valid key: send `Authorization: Bearer bnk_...`. The key may be mistyped, expired or "
        "revoked, or its user disabled. An administrator makes new keys."
    )
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


async def identify(request: Request) -> Viewer:
    """Whose key the request carries, kept on the request. Raises Problem 401."""
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
    """A route that knows its caller before it reads the body: nobody without a key makes the server parse megabytes.

    A download, which is a GET of bytes (`response_class=Response`), answers HEAD too.
    """

    def __init__(self, path: str, endpoint: Callable[..., object], **told: Any) -> None:
        if set(told.get("methods") or ()) == {"GET"} and told.get("response_class") is Response:
            told["methods"] = ["GET", "HEAD"]
        super().__init__(path, endpoint, **told)

    def get_route_handler(self) -> Handler:
        """The usual handler, behind `identify`."""
        handler = super().get_route_handler()
        if getattr(self.endpoint, "public", False):
            return handler

        takes_files = getattr(self.endpoint, "takes_files", False)

        async def keyed(request: Request) -> Response:
            viewer = await identify(request)
            if is_form(request) and not takes_files:
                raise Problem(415, "unsupported_media_type", "Send the body as Content-Type: application/json.")
            if takes_files and viewer.may("submit"):  # the others are refused by the route
                async with context_of(request).uploads.place(request, viewer.owner):
                    return await known(request)
            return await known(request)

        async def known(request: Request) -> Response:
            if not is_form(request):
                await check_json(request, context_of(request).settings.limit.json_values)
            return await handler(request)

        return keyed


async def authenticate(
    request: Request, _header: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)] = None
) -> Viewer:
    """The caller. The header is read by `identify`; the parameter documents it."""
    return await identify(request)


async def require_member(viewer: Annotated[Viewer, Depends(authenticate)]) -> Viewer:
    """The caller, who may submit and change what is theirs. Raises Problem 403."""
    if not viewer.may("submit"):
        raise Problem(403, "forbidden", f"Your key does not allow submitting: {_lacks(viewer, 'submit', 'member')}")
    return viewer


async def require_admin(request: Request, viewer: Annotated[Viewer, Depends(authenticate)]) -> Viewer:
    """The caller, who administers this server. Raises Problem 403, which the audit keeps."""
    if not viewer.may("admin"):
        asked = f"{request.method} {request.scope['route'].path}"  # by route: names in paths are endless
        example = path_of(request)[:200]
        await context_of(request).database.run(audit.record, viewer, "administer", asked, outcome="denied", example=example)
        raise Problem(403, "forbidden", f"This needs an administrator's key: {_lacks(viewer, 'admin', 'admin')}")
    return viewer


def _lacks(viewer: Viewer, scope: Scope, role: Role) -> str:
    """Why the caller may not do what needs this scope, and who could help."""
    if scope in ALLOWED[viewer.role]:
        return f"yours has the scopes {', '.join(sorted(viewer.scopes))}, without {scope}. An administrator can make a key with more rights."
    return f"yours has the role {viewer.role}. An administrator can make a key with the role {role}."


Caller = Annotated[Viewer, Depends(authenticate)]
Member = Annotated[Viewer, Depends(require_member)]
Admin = Annotated[Viewer, Depends(require_admin)]


def keyed_router(*, prefix: str, tag: str) -> APIRouter:
    """A router all of whose routes need a key, unless marked `public`."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=KeyedRoute)
