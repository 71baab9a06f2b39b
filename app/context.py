"""What the routes of one application share: made once by its lifespan, asked for by `Shared`."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.auth.keyring import Keyring
from app.db import AsyncDatabase
from app.jobs.cursors import Cursors
from app.jobs.reading import Reader
from app.jobs.waiting import Wakeups
from app.planner import Planner
from app.settings import Settings
from app.status.health import Health
from app.status.metrics import Metrics
from app.storage.base import Storage
from app.uploading import Uploads
from app.webhooks.messenger import Messenger


@dataclass(frozen=True)
class Context:
    """The application's parts."""

    settings: Settings
    database: AsyncDatabase
    planner: Planner
    uploads: Uploads
    storage: Storage
    keyring: Keyring
    wakeups: Wakeups
    reader: Reader
    cursors: Cursors
    health: Health
    metrics: Metrics
    messenger: Messenger


def context_of(request: Request) -> Context:
    """The context of the application that serves this request."""
    context: Context = request.app.state.context
    return context


Shared = Annotated[Context, Depends(context_of)]
