"""The tallies of finished jobs by kind and state, kept as jobs end and are removed, equal a count of the jobs."""

from sqlalchemy import create_engine, text

from app import migrate, tallies
from app.jobs import endings, service
from app.status.repository import finished_by_kind
from tests.db.conftest import ADMIN, Desk

COUNT = text("""
SELECT kind, state, count(*) FROM jobs WHERE state IN ('succeeded', 'failed', 'cancelled') GROUP BY kind, state ORDER BY kind, state""")


def _assert_counted(desk: Desk) -> list[tuple[str, str, int]]:
    """The tallies by kind and state, which equal a count of the jobs."""
    with desk.sessions() as session:
        found = sorted(finished_by_kind(session))
        assert found == [tuple(row) for row in session.execute(COUNT)]
    return found


def _end(desk: Desk, how: str) -> str:
    """Submits a job and ends it in this state."""
    job_id = desk.submit()
    if how == "cancelled":
        desk.do(service.cancel, job_id, ADMIN)
        return job_id
    lease = desk.claim()
    assert lease is not None
    if how == "failed":
        desk.do(endings.fail, job_id, lease.token, {"code": "broken", "detail": "It broke."})
    else:
        desk.do(endings.succeed, job_id, lease.token, {}, [], metrics={})
    return job_id


def test_finished_jobs_are_counted_as_they_end_and_go(desk: Desk) -> None:
    ended = [_end(desk, how) for how in ("succeeded", "succeeded", "failed", "cancelled")]
    assert _assert_counted(desk) == [("probe", "cancelled", 1), ("probe", "failed", 1), ("probe", "succeeded", 2)]
    desk.do(tallies.add_up, most=2)
    _end(desk, "succeeded")
    with desk.sessions.begin() as session:
        session.execute(text("DELETE FROM jobs WHERE id = ANY(:ids)"), {"ids": ended[1:]})
    assert _assert_counted(desk) == [("probe", "succeeded", 2)]
    desk.do(tallies.add_up)
    assert _assert_counted(desk) == [("probe", "succeeded", 2)]
    with desk.sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM tally_changes")) == 0


def test_a_transaction_that_is_undone_counts_nothing(desk: Desk) -> None:
    job_id = desk.submit()
    lease = desk.claim()
    assert lease is not None
    with desk.sessions() as session:
        endings.succeed(session, job_id, lease.token, {}, [], metrics={})
        session.rollback()
    assert _assert_counted(desk) == []


def test_the_migration_counts_existing_jobs(desk: Desk, database_url: str) -> None:
    for how in ("succeeded", "failed"):
        _end(desk, how)
    desk.sessions.kw["bind"].dispose()
    migrate.downgrade(database_url, "0010")  # the last revision without tallies
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'succeeded', error = NULL WHERE state = 'failed'"))
    engine.dispose()
    migrate.upgrade(database_url)
    assert _assert_counted(desk) == [("probe", "succeeded", 2)]
