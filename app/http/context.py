"""The objects that all routes share; the application's lifespan makes them, routes get them by `Shared`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from app.auth.keyring import Keyring
from app.db import AsyncDatabase
from app.http.cursors import Cursors
from app.http.uploading import Uploads
from app.planner import Planner
from app.settings import Settings
from app.storage.base import Storage

Part = TypeVar("Part")


@dataclass(frozen=True)
class Context:
    """What any route may need. `parts` are the domains' own, by class: this module imports no domain."""

    settings: Settings
    database: AsyncDatabase
    planner: Planner
    uploads: Uploads
    storage: Storage
    keyring: Keyring
    cursors: Cursors
    parts: Mapping[type, object]

    def part(self, kind: type[Part]) -> Part:
        """The application's object of this class: `context.part(Reader)`. Raises KeyError for a class that `app.main` did not make."""
        found = self.parts[kind]
        assert isinstance(found, kind)
        return found


def context_of(request: Request) -> Context:
    """The context of the application that serves this request."""
    context: Context = request.app.state.context
    return context


async def _context(request: Request) -> Context:
    return context_of(request)  # a dependency that is no coroutine costs a trip to the thread pool, a tenth of a small request


Shared = Annotated[Context, Depends(_context)]
