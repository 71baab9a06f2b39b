"""Routes of quotas. Users can see their own; administrators see and set all of them."""

from typing import Annotated

from fastapi import Body, Path, Response

from app.auth.sharing import NAME
from app.http.access import Admin, Caller, keyed_router
from app.http.context import Shared
from app.http.problems import documented
from app.quotas import service
from app.quotas.models import EVERYBODY
from app.quotas.schemas import QuotaList, QuotaOut, QuotaRequest

router = keyed_router(prefix="/v1/quotas", tag="quotas")

User = Annotated[str, Path(pattern=NAME, examples=["ada"])]
Said = Annotated[QuotaRequest, Body(examples=[{"max_queued": 200, "max_running": 4, "device_seconds_per_day": 28800}])]


@router.get("", operation_id="listQuotas", summary="List quotas", responses=documented(403))
async def list_quotas(_viewer: Admin, context: Shared) -> QuotaList:
    """Returns the server-wide quota, and those of single users. Administrators only."""
    return await context.database.read(service.listing)


@router.put(
    "", operation_id="setDefaultQuota", summary="Set the server-wide quota", responses=documented(400, 403, 413, 415, 422)
)
async def set_default(body: Said, viewer: Admin, context: Shared) -> QuotaOut:
    """Replaces the limits of all users without limits of their own. Administrators only."""
    return await context.database.run(service.put, EVERYBODY, body, viewer)


@router.get("/{user}", operation_id="getQuota", summary="Get a user's quota", responses=documented(404, 422))
async def get_quota(user: User, viewer: Caller, context: Shared) -> QuotaOut:
    """Returns the limits of a user: your own, or any user's with an administrator's key. GET /v1/usage shows how much is used."""
    return await context.database.read(service.find, user, viewer)


@router.put("/{user}", operation_id="setQuota", summary="Set a user's quota", responses=documented(400, 403, 404, 413, 415, 422))
async def set_quota(user: User, body: Said, viewer: Admin, context: Shared) -> QuotaOut:
    """Replaces the user's limits; fields that are left out follow the server-wide quota. Administrators only."""
    return await context.database.run(service.put, user, body, viewer)


@router.delete(
    "/{user}",
    operation_id="deleteQuota",
    summary="Remove a user's own quota",
    status_code=204,
    response_class=Response,
    responses=documented(403, 404, 422),
)
async def delete_quota(user: User, viewer: Admin, context: Shared) -> None:
    """Removes the user's own limits, so that the server-wide quota applies again. Administrators only."""
    await context.database.run(service.remove, user, viewer)
