"""The API's pool of database connections hands out the one that was used last."""

import asyncio

from sqlalchemy import text

from app.db import make_async_engine


def test_the_connection_used_last_is_used_next(database_url: str) -> None:
    asyncio.run(_used(database_url))


async def _used(url: str) -> None:
    engine = make_async_engine(url, connections=6)
    opened = [await engine.connect() for _ in range(3)]
    servers = [await one.scalar(text("SELECT pg_backend_pid()")) for one in opened]
    for one in opened:
        await one.close()
    for _ in range(3):
        async with engine.connect() as again:
            assert await again.scalar(text("SELECT pg_backend_pid()")) == servers[-1]
    await engine.dispose()
