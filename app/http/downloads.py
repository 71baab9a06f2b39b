"""Downloads of stored files that end when the caller loses access. `app.storage.serving` sends the bytes."""

import contextlib
from collections.abc import Callable
from typing import Protocol

from fastapi import Request, Response
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.http.access import unauthenticated
from app.http.context import Context
from app.storage.serving import serve_object


class File(Protocol):
    """Where the bytes of a file are, and what it is called."""

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
    """The file that `find` finds for the caller, downloaded as its name after `prefix`.

    Whether the key still opens something and `find` still finds the file is asked again every `serving.RECHECK` seconds; if not, the
    connection is cut. An address of the bucket, once given out, holds for `serving.PRESIGNED_SECONDS`.
    """
    file = await context.database.run(find, viewer)

    async def still() -> None:
        with contextlib.suppress(SQLAlchemyError, OSError):  # while the database is away no right changes
            now_is = await context.keyring.current(viewer)
            if now_is is None:
                raise unauthenticated()
            await context.database.run(find, now_is)

    return await serve_object(
        request, context.storage, file.digest, file.size, file.media_type, f"{prefix}{file.name}", still=still
    )
