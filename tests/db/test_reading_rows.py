"""Reads of the API without a transaction, on a session or a connection: each statement is its own, and a dead connection is replaced."""

import asyncio

import pytest
from sqlalchemy import text

from app.db import AsyncDatabase, Rows
from tests.db.conftest import Desk


def pid_and_transactions(rows: Rows) -> tuple[int, bool]:
    """The server process of the connection, and whether two statements of one read have the same transaction."""
    pid, first = rows.execute(text("SELECT pg_backend_pid(), now()")).one()
    return pid, first == rows.execute(text("SELECT now() FROM pg_sleep(0.01)")).scalar_one()


@pytest.mark.parametrize("way", ["read", "read_rows"])
def test_a_read_has_no_transaction_and_outlives_its_connection(desk: Desk, database_url: str, way: str) -> None:
    async def twice() -> None:
        database = AsyncDatabase(database_url)
        try:
            pid, together = await getattr(database, way)(pid_and_transactions)
            assert not together
            with desk.sessions.begin() as session:
                assert session.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            again, _ = await getattr(database, way)(pid_and_transactions)
            assert again != pid
            _, together = await database.run(pid_and_transactions)
            assert together, "the same connection, in a transaction again"
        finally:
            await database.close()

    asyncio.run(twice())
