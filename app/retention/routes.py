"""Retention over HTTP, for administrators: look first, then remove."""

import asyncio
from typing import Annotated

from fastapi import Body, Query

from app.db import make_engine, make_sessions
from app.http.access import Admin, keyed_router
from app.http.context import Context, Shared
from app.http.problems import documented
from app.retention import service
from app.retention.schemas import RetentionOut, RetentionRequest

router = keyed_router(prefix="/v1/retention", tag="retention")


@router.get("", operation_id="previewRetention", summary="List results that can be removed", responses=documented(403, 422))
async def preview_retention(
    _viewer: Admin,
    context: Shared,
    older_than_days: Annotated[float, Query(gt=0, le=36_500, description="days since their job ended", examples=[90])],
) -> RetentionOut:
    """Returns the results that a removal with this age would remove; removes nothing. Administrators only."""
    return await context.database.run(service.preview, older_than_days)


@router.post("", operation_id="removeOldResults", summary="Remove old results", responses=documented(400, 403, 413, 415, 422))
async def remove_old_results(
    body: Annotated[RetentionRequest, Body(examples=[{"older_than_days": 90}])], viewer: Admin, context: Shared
) -> RetentionOut:
    """Removes the results of old jobs that are not kept and not needed by unfinished jobs; the jobs and their history stay.
    Administrators only."""
    removal = service.Removal(body.older_than_days, viewer)
    while removal.committed(*await context.database.run(removal.batch)):
        pass
    told = removal.told
    assert told is not None
    freed = await asyncio.to_thread(_collect, context)
    return told.model_copy(update={"freed_bytes": freed})


def _collect(context: Context) -> int:
    engine = make_engine(context.settings.database_url.get_secret_value(), pool_size=1)
    try:
        return service.collect_all(make_sessions(engine), context.storage).bytes
    finally:
        engine.dispose()
