"""Downloads of stored files that end when the caller loses access. `app.storage.serving` sends the bytes."""

import contextlib
from collections.abc import Callable
from typing import Protocol

from fastapi import Request, Response
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse

from app.auth.viewer import Viewer
from app.http.access import unauthenticated
from app.http.context import Context
from app.storage.serving import serve_object


class File(Protocol):
    """A stored file: where its bytes are, and its name."""

    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def media_type(self) -> str: ...
    @property
    def name(self) -> str: ...


Find = Callable[[Session, Viewer], File]


async def serve_file(request: Request, context: Context, viewer: Viewer, find: Find, *, prefix: str = "") -> Response:
    """Sends the file that `find` returns for the caller, named after `prefix`.

    Every `serving.RECHECK` seconds, the key and the access to the file are checked again; if either check fails, the connection is cut. An
    address in the bucket, once sent, stays valid for `serving.PRESIGNED_SECONDS`.
    """
    file = await context.database.read(find, viewer)

    async def check_access() -> None:
        with contextlib.suppress(SQLAlchemyError, OSError):  # rights cannot change while the database is unavailable
            now_is = await context.keyring.current(viewer)
            if now_is is None:
                raise unauthenticated()
            await context.database.read(find, now_is)

    return await serve_object(
        request, context.storage, file.digest, file.size, file.media_type, f"{prefix}{file.name}", check_access=check_access
    )


async def serve_named(request: Request, context: Context, viewer: Viewer, find: Find) -> Response:
    """Sends the file as `serve_file`, from an address that may mean another file later or for another caller: a cache asks before it uses its
    copy."""
    response = await serve_file(request, context, viewer, find)
    if not isinstance(response, RedirectResponse):  # which no cache stores
        response.headers["Cache-Control"] = "private, no-cache"
    return response
