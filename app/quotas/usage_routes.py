"""HTTP route of the use of storage and devices."""

from typing import Annotated

from fastapi import Query

from app.auth.sharing import MYSELF, NAME
from app.http.access import Caller, keyed_router
from app.http.context import Shared
from app.http.problems import documented
from app.quotas import usage as service
from app.quotas.usage_schemas import UsageOut

router = keyed_router(prefix="/v1/usage", tag="quotas")


@router.get("", operation_id="getUsage", summary="Get disk and device time by user and day", responses=documented(404, 422))
async def get_usage(
    viewer: Caller,
    context: Shared,
    user: Annotated[str | None, Query(pattern=NAME, description="only this user; `me` for yourself")] = None,
    days: Annotated[int, Query(ge=1, le=366, description="number of days, today included")] = 30,
) -> UsageOut:
    """Returns disk and device time by user and day: your own, or every user's with an administrator's key. Days are in UTC; an attempt is booked
    on the day it ends."""
    return await context.database.read(service.usage, viewer, user=viewer.owner if user == MYSELF else user, days=days)
