"""Routes of health, without a key, and of the status board, with a key."""

import platform
from functools import cache
from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from app.http.access import Caller, KeyedRoute, public
from app.http.context import Shared
from app.http.problems import documented
from app.jobs.waiting import Wakeups
from app.status import repository
from app.status.health import Health
from app.status.schemas import QueueOut, Readiness, StatusOut, WaitingOut, WorkerOut
from binnacle.version import VERSION
from terms.values import JsonField

router = APIRouter(tags=["health"], route_class=KeyedRoute)

MALFORMED: dict[int | str, JsonField] = {400: documented()[400]}
"""The one refusal of a route that needs no key and no body."""
SHOWN = ("fastapi", "sqlalchemy", "celery")


@cache
def _versions() -> dict[str, str]:
    """Returns the versions shown on the board, read once: each is read from a file, which takes as long as the board's statements."""
    return {"python": platform.python_version(), **{name: version(name) for name in SHOWN}}


@router.get("/livez", operation_id="livez", summary="Check that the process answers", responses=MALFORMED)
@public
async def livez() -> dict[str, str]:
    """Answers 200 and checks nothing else: a database that does not answer is not a reason to restart this process."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Check that requests can be served",
    responses=MALFORMED | {503: {"model": Readiness, "description": "The database, its schema or the storage is not available"}},
)
@public
async def readyz(context: Shared, response: Response) -> Readiness:
    """Returns whether requests can be served; the status is 503 if not. It stays 200 when the broker does not answer (`degraded`): the queue
    is in the database, and jobs only start a little later."""
    readiness = await context.part(Health).readiness()
    response.status_code = 503 if readiness.status == "unready" else 200
    response.headers["Cache-Control"] = "no-store"
    return readiness


@router.get("/openapi.json", include_in_schema=False)
@public
async def openapi(request: Request) -> JSONResponse:
    """Returns the OpenAPI document of this service."""
    return JSONResponse(request.app.openapi())


@router.get(
    "/v1/status", operation_id="getStatus", summary="Workers, devices, loaded models and the queue", responses=documented()
)
async def get_status(viewer: Caller, context: Shared) -> StatusOut:
    """Returns the status board. Everyone with a key sees it; jobs of others have no names on it."""

    lease = context.settings.lease

    def board(database: Connection) -> tuple[list[WorkerOut], list[QueueOut], list[WaitingOut]]:
        workers = repository.workers(database, viewer, lease_seconds=lease.ttl)
        return workers, repository.queues(database), repository.waiting(database, viewer, slice_seconds=lease.slice)

    workers, queues, waiting = await context.database.read_rows(board)
    return StatusOut(
        version=VERSION,
        auth=context.settings.auth,
        broker=await context.part(Health).broker(),
        listening=context.part(Wakeups).listening.is_set(),
        waiting_requests=context.part(Wakeups).watched(),
        workers=workers,
        queues=queues,
        waiting=waiting,
        versions=_versions(),
    )
