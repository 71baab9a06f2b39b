"""Limits are the same in SQL and in Python; jobs are admitted without a count only where no quota can refuse them."""

import itertools

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from app.errors import Problem
from app.jobs import service
from app.quotas import admission, repository
from app.quotas.limits import NAMES, Limits, limit_of, limits_of
from app.quotas.models import EVERYBODY, UNLIMITED

VALUES = (None, 7, UNLIMITED)
PUT = text("""INSERT INTO quotas (owner, max_queued, device_seconds_per_day, stored_bytes, changed_by) VALUES (:owner, :a, :b, :c, 'x')
ON CONFLICT (owner) DO UPDATE SET max_queued = :a, device_seconds_per_day = :b, stored_bytes = :c""")


def put(session: Session, owner: str, queued: int | None, seconds: int | None = None, stored: int | None = None) -> None:
    """Sets the limits of a user or of everybody."""
    session.execute(PUT, {"owner": owner, "a": queued, "b": seconds, "c": stored})


def sure(session: Session, *, jobs: int = 10, room: int = 2) -> bool:
    """Whether ann's jobs of this transaction are admitted without a count: at most `jobs` of them, with `room` for more."""
    return repository.surely_admitted(session, "ann", jobs=jobs, room=room)


def locks(session: Session) -> int:
    """How many locks of admission this transaction holds."""
    return session.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")) or 0


@pytest.mark.parametrize(("own", "everybodys"), list(itertools.product(VALUES, VALUES)))
def test_a_limit_is_the_same_in_sql_and_in_python(
    own: int | None, everybodys: int | None, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        put(session, "ann", own, own, own)
        put(session, EVERYBODY, everybodys, everybodys, everybodys)
        expected = limits_of(session, "ann")
        for name in NAMES:
            statement = text(f"SELECT {limit_of(name, ':owner', getattr(Limits(), name))}")
            assert session.scalar(statement, {"owner": "ann"}) == getattr(expected, name), name


def submit(session: Session, times: int) -> None:
    """Submits jobs of ann, past all quotas."""
    for _ in range(times):
        service.submit(session, service.Submission(kind="calibrate", spec={}, owner="ann", job_class="model", unmetered=True))


def test_a_few_jobs_far_below_the_limit_are_sure(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        submit(session, 3)
        put(session, "ann", 5)
        assert sure(session, jobs=3, room=2)
        assert locks(session) == 1, "a later count of ann's jobs waits for these"


@pytest.mark.parametrize(("limit", "jobs", "room"), [(100, 2, 2), (5, 3, 3)])
def test_many_jobs_or_little_room_are_not_sure(limit: int, jobs: int, room: int, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        submit(session, 3)
        put(session, "ann", limit)
        assert not sure(session, jobs=jobs, room=room)
        assert locks(session) == 0


@pytest.mark.parametrize(("seconds", "stored"), [(7, None), (None, 7)])
def test_nothing_is_sure_where_time_or_bytes_are_limited(
    seconds: int | None, stored: int | None, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        put(session, "ann", UNLIMITED, seconds, stored)
        assert not sure(session)
        assert locks(session) == 0


def test_without_a_limit_everything_is_sure_and_nothing_is_locked(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        put(session, "ann", UNLIMITED)
        assert sure(session, jobs=0)
        assert locks(session) == 0
    assert admission.SURE_ROOM >= 200 * admission.SURE_JOBS


def test_no_quota_applies_to_the_service_which_owns_the_shipped_traits(sessions: sessionmaker[Session]) -> None:
    """Otherwise a small server-wide quota would keep the API from starting after an upgrade with other traits."""
    with sessions.begin() as session:
        put(session, EVERYBODY, 0)

    def submit_as(owner: str) -> None:
        with sessions.begin() as session:
            service.submit(session, service.Submission(kind="calibrate", spec={}, owner=owner, job_class="model"))

    submit_as("binnacle")
    with pytest.raises(Problem, match="max_queued"):
        submit_as("ann")
