"""What the service needs, looked at now. The database, its schema and the storage must be there; without the broker jobs only start later."""

import asyncio
from collections.abc import Awaitable

import redis.asyncio
from sqlalchemy.orm import Session

from app.context import Context
from app.migrate import current_revision, head_revision, knows
from app.status.schemas import Check, Readiness

PATIENCE = 5.0


async def readiness(context: Context) -> Readiness:
    """All checks at once, each within five seconds."""
    names = ("database", "migrations", "storage", "broker")
    results = await asyncio.gather(
        _check(context.database.ping(), "answers"),
        _migrations(context),
        _check(asyncio.to_thread(context.storage.check), "takes objects"),
        broker(context),
    )
    checks = dict(zip(names, results, strict=True))
    if not all(checks[name].ok for name in ("database", "migrations", "storage")):
        return Readiness(status="unready", checks=checks)
    return Readiness(status="ready" if checks["broker"].ok else "degraded", checks=checks)


async def broker(context: Context) -> Check:
    """Whether the broker answers a ping."""
    url = context.settings.broker_url.get_secret_value()
    if url.startswith("redis+socket://"):  # kombu's word for it, which redis-py does not know
        url = "unix" + url.removeprefix("redis+socket").replace("virtual_host=", "db=")
    async with redis.asyncio.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
        return await _check(client.ping(), "answers")


async def _migrations(context: Context) -> Check:
    head = head_revision()

    def at_head(session: Session) -> str | None:
        return current_revision(session)

    try:
        async with asyncio.timeout(PATIENCE):
            present = await context.database.run(at_head)
    except Exception as error:
        return Check(ok=False, detail=type(error).__name__)
    if present == head:
        return Check(ok=True, detail=head)
    if present is not None and not knows(
        present
    ):  # in a rolling restart the newest version migrates, and the older ones serve on
        return Check(ok=True, detail=f"{present}, newer than this server's {head}")
    detail = f"the database is at {present or 'no revision'}, this server needs {head}: run `binnacle prepare`"
    return Check(ok=False, detail=detail)


async def _check(work: Awaitable[object], fine: str) -> Check:
    """Only the error's type is told: its text may hold an address or a password."""
    try:
        async with asyncio.timeout(PATIENCE):
            await work
    except Exception as error:
        return Check(ok=False, detail=type(error).__name__)
    return Check(ok=True, detail=fine)
