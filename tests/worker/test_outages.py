"""A job retries short storage errors, tells outages of the database from other errors, and counts a repeated cell once."""

import psycopg
import pytest
from psycopg.types.string import StrDumper
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError, OperationalError

from app import retrying
from app.jobs import endings, repository
from app.storage.base import ObjectCorrupt, ObjectMissing, StorageDenied, StorageError, StorageFull, StorageUnavailable
from app.storage.blobs import stage
from app.storage.factory import open_storage
from tests.worker.conftest import Service
from workers.outages import STORAGE_PAUSES, is_outage, through_storage_errors


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying.time, "sleep", lambda _seconds: None)


def failing(times: int, error: StorageError) -> tuple[list[int], object]:
    """A list with one entry per call, and a function that raises the error the first `times` times."""
    calls: list[int] = []

    def work() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return calls, work


@pytest.mark.parametrize("error", [StorageUnavailable("503"), ObjectCorrupt("changed")])
def test_a_transient_storage_error_is_retried_a_few_times(error: StorageError) -> None:
    calls, work = failing(len(STORAGE_PAUSES), error)
    assert through_storage_errors(work, lambda: False) == "done"
    assert len(calls) == len(STORAGE_PAUSES) + 1
    calls, work = failing(len(STORAGE_PAUSES) + 1, error)
    with pytest.raises(type(error)):
        through_storage_errors(work, lambda: False)
    assert len(calls) == len(STORAGE_PAUSES) + 1


@pytest.mark.parametrize("error", [StorageFull("full"), StorageDenied("no"), ObjectMissing("gone")])
def test_a_lasting_storage_error_is_not_retried(error: StorageError) -> None:
    calls, work = failing(1, error)
    with pytest.raises(type(error)):
        through_storage_errors(work, lambda: False)
    assert len(calls) == 1


def test_a_value_refused_by_the_driver_is_not_an_outage_but_an_unreachable_server_is() -> None:
    """Neither error has an SQLSTATE. A retry of the first would repeat until the lease is lost."""
    with pytest.raises(psycopg.DataError) as refused:
        StrDumper(str).dump("a\x00b")
    assert refused.value.sqlstate is None
    assert not is_outage(DBAPIError.instance("INSERT", {}, refused.value, psycopg.Error))
    with pytest.raises(OperationalError) as unreachable:
        create_engine("postgresql+psycopg://127.0.0.1:1/none").connect()
    assert is_outage(unreachable.value)


def test_a_cell_that_is_committed_twice_counts_once(live: Service) -> None:
    """As after a commit with a lost answer."""
    job, token = _held(live)
    blob = stage(live.sessions, open_storage(live.settings.storage_url.get_secret_value()), b"a cell")
    for _ in range(2):
        with live.sessions.begin() as session:
            endings.keep_cells(session, job, token, {"step/0": blob})
    assert live.event_types(job).count("cell") == 1


def test_deferrals_are_counted_since_the_last_finished_cell(live: Service) -> None:
    """A long job with an error now and then, which makes progress, must not reach the limit of deferrals."""
    job, token = _held(live)
    for n in range(3):
        with live.sessions.begin() as session:
            assert repository.deferrals(session, job) == n
            endings.requeue(session, job, token, "deferred", {"because": "storage"})
        token = _claim(live)
    blob = stage(live.sessions, open_storage(live.settings.storage_url.get_secret_value()), b"a cell")
    with live.sessions.begin() as session:
        endings.keep_cells(session, job, token, {"step/0": blob})
        assert repository.deferrals(session, job) == 0


def _held(live: Service) -> tuple[str, int]:
    """A claimed job and the token of its lease."""
    job = live.submit()
    return job, _claim(live)


def _claim(live: Service) -> int:
    from app.jobs import claims

    claimer = claims.Claimer("light-0@here", "light", 1, {"probe": 1})
    with live.sessions.begin() as session:
        lease = claims.claim(session, claimer, ttl=60, slice_seconds=60)
    assert lease is not None
    return lease.token
