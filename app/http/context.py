"""Objects shared by all routes; the application's lifespan creates them, and routes receive them as `Shared`."""

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
    """The objects that any route may need. `parts` holds the domains' own objects by class, since this module imports no domain."""

    settings: Settings
    database: AsyncDatabase
    planner: Planner
    uploads: Uploads
    storage: Storage
    keyring: Keyring
    cursors: Cursors
    parts: Mapping[type, object]

    def part(self, kind: type[Part]) -> Part:
        """Returns the application's object of this class: `context.part(Reader)`. Raises KeyError for a class that `app.main` did not create."""
        part = self.parts[kind]
        assert isinstance(part, kind)
        return part


def context_of(request: Request) -> Context:
    """Returns the context of the application that serves this request."""
    context: Context = request.app.state.context
    return context


async def _context(request: Request) -> Context:
    # async, because a sync dependency runs in the thread pool, which takes a tenth of a small request's time
    return context_of(request)


Shared = Annotated[Context, Depends(_context)]
