"""A cell that other jobs may reuse (its name begins with `judge:`) is found only for users who may see the job that made it."""

import pytest
from sqlalchemy import text

from app.jobs import repository
from app.storage.models import BlobRow
from tests.db.conftest import Desk

DIGEST = "a" * 64
CELL = "judge:" + "0" * 64


@pytest.fixture
def made(desk: Desk) -> str:
    """Ann's job, which keeps a shared cell and one of its own."""
    job = desk.submit("ann")
    with desk.sessions.begin() as session:
        session.add(BlobRow(digest=DIGEST, size=1))
        session.flush()
        for cell in (CELL, "texts/run-1"):
            session.execute(
                text("INSERT INTO job_cells VALUES (:job, :cell, :digest)"), {"job": job, "cell": cell, "digest": DIGEST}
            )
    return job


def found(desk: Desk, owner: str, cell: str = CELL) -> bool:
    """Whether a job of this owner finds the cell."""
    return desk.do(repository.shared_cell_digest, cell, owner) == DIGEST


def test_a_shared_cell_is_found_for_its_owner_and_for_those_who_see_its_job(desk: Desk, made: str) -> None:
    assert (found(desk, "ann"), found(desk, "bob")) == (True, False)
    assert not found(desk, "ann", "judge:" + "1" * 64)
    with desk.sessions.begin() as session:
        session.execute(text("INSERT INTO groups (name, created_by) VALUES ('interp', 'root')"))
        session.execute(text("INSERT INTO users (name, created_by) VALUES ('carl', 'root'), ('bob', 'root')"))
        session.execute(text("INSERT INTO group_members (group_name, user_name) VALUES ('interp', 'carl')"))
        session.execute(text("UPDATE jobs SET visibility = 'group', group_name = 'interp'"))
    assert (found(desk, "carl"), found(desk, "bob")) == (True, False)
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET visibility = 'public', group_name = NULL"))
    assert found(desk, "bob")


def test_a_jobs_own_cells_are_not_shared(desk: Desk, made: str) -> None:
    assert not found(desk, "ann", "texts/run-1")
