"""A transaction that the database rolled back for a conflict with another runs once more, in the API and in workers; other errors are raised."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db import AsyncDatabase
from tests.db.conftest import Desk

# 40P01: deadlock; 40001: serialization failure; 23505: unique violation; 57014: statement cancelled
RAISE = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{}'; END $$"


class Conflicting:
    """Writes a row, then fails with the codes in turn, then succeeds."""

    def __init__(self, *codes: str) -> None:
        self.codes, self.calls = list(codes), 0

    def __call__(self, session: Session) -> str:
        self.calls += 1
        session.execute(text("INSERT INTO blobs (digest, size) VALUES (lpad(:n, 64, '0'), 1)"), {"n": str(self.calls)})
        if self.codes:
            session.execute(text(RAISE.format(self.codes.pop(0))))
        return "done"


@pytest.fixture(params=["api", "worker"])
def run(request: pytest.FixtureRequest, desk: Desk, database_url: str) -> Callable[[Conflicting], Any]:
    """Runs a transaction as the API does, or as a worker."""

    async def in_api(work: Conflicting) -> str:
        database = AsyncDatabase(database_url)
        try:
            return await database.run(work)
        finally:
            await database.close()

    if request.param == "api":
        return lambda work: asyncio.run(in_api(work))
    from app.db import in_transaction

    return lambda work: in_transaction(desk.sessions, work)


@pytest.mark.parametrize("code", ["40P01", "40001"])
def test_after_a_conflict_it_runs_once_more(run: Callable[[Conflicting], Any], desk: Desk, code: str) -> None:
    work = Conflicting(code)
    assert run(work) == "done"
    assert work.calls == 2
    with desk.sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM blobs")) == 1, "nothing of the first time stays"


@pytest.mark.parametrize(("codes", "calls"), [(("40P01", "40001"), 2), (("23505",), 1), (("57014",), 1)])
def test_a_second_conflict_and_any_other_error_are_raised(
    run: Callable[[Conflicting], Any], codes: tuple[str, ...], calls: int
) -> None:
    work = Conflicting(*codes)
    with pytest.raises(DBAPIError):
        run(work)
    assert work.calls == calls
