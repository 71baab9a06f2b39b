"""A database with few connections: requests wait for one, and when none comes free the answer names the limit that was reached."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.errors import DiskFull, OutOfMemory
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from app.embedded.postgres import Postgres
from app.jobs.waiting import Wakeups
from app.settings import Settings
from tests.api.conftest import PEPPER, Running
from tests.api.test_polling import wait_until


@pytest.fixture
def narrow(postgres: Postgres, settings: Settings, sessions: sessionmaker[Session]) -> Iterator[Running]:
    """An API with a role that may open 6 connections to the database, while its own pool would take 20. Only requests use that pool."""
    url = settings.database_url.get_secret_value()
    name = re.search(r"@/(\w+)\?", url)
    assert name is not None
    role = f"few_{name[1]}"
    with postgres.connect(name[1]) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 6 IN ROLE {connection.info.user}")
        connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    few = re.sub(r"//[^@]+@", f"//{role}:x@", url)
    seldom = settings.webhook.model_copy(update={"poll": 3600.0})
    running = Running(settings.model_copy(update={"database_url": type(settings.database_url)(few), "webhook": seldom}), sessions)
    running.start()
    running.add_model()
    yield running
    running.stop()
    with postgres.connect(name[1]) as connection:
        connection.execute(f"DROP OWNED BY {role}")
        connection.execute(f"DROP ROLE {role}")


def _plain(running: Running) -> str:
    return running.settings.database_url.get_secret_value().replace("+psycopg", "")


def test_many_reads_at_once_wait_for_the_connections_there_are(narrow: Running) -> None:
    with narrow.client() as ada, ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _i: ada.get("/v1/jobs").status_code, range(60)))
    assert answers == [200] * 60


def test_when_none_comes_free_the_answer_names_the_limit(
    narrow: Running, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    with narrow.client() as ada:
        assert ada.get("/v1/jobs").status_code == 200
        narrow.context.part(Wakeups).release()
        with sessions() as session:  # those that the pool keeps would serve some of the requests
            session.execute(
                text(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND usename LIKE 'few%'"
                )
            )
        taken = []
        try:
            while True:
                taken.append(psycopg.connect(_plain(narrow)))
        except psycopg.OperationalError:
            pass
        try:
            with ThreadPoolExecutor(8) as pool, monkeypatch.context() as patched:
                patched.setattr("app.db.FULL_PATIENCE", 0.5)
                answers = list(pool.map(lambda _i: ada.get("/v1/jobs"), range(16)))
        finally:
            for connection in taken:
                connection.close()
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (503, "connections_in_use")
            assert "The database allows this role 6 connections (CONNECTION LIMIT) and all are in use." in answer.json()["detail"]
        assert ada.get("/v1/jobs").status_code == 200, "and all is well again"


def test_a_server_process_opens_no_more_connections_than_its_setting(
    settings: Settings, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINNACLE_DATABASE_API_CONNECTIONS", "3")
    urls = {name: getattr(settings, name) for name in ("database_url", "broker_url", "storage_url", "broker_prefix", "home")}
    running = Running(Settings(key_pepper=PEPPER, **urls), sessions)
    running.start()
    try:
        with running.client() as ada, ThreadPoolExecutor(20) as pool:
            assert set(pool.map(lambda _i: ada.get("/v1/jobs").status_code, range(60))) == {200}
        assert running.context.database.engine.pool.checkedin() <= 3
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with sessions() as session:
            connection = session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            # the pool, the one that listens, and one of the test's own; a server process that was left ends some moments later
            wait_until(lambda: connection.exec_driver_sql(others).scalar_one() <= 3 + 1 + 1)
    finally:
        running.stop()


def test_the_answers_of_a_full_database_say_what_is_short() -> None:
    from app.outages import Room, explain

    room = Room(20, -1, 7)

    def said(message: str) -> tuple[str, str]:
        return explain(OperationalError("", {}, psycopg.OperationalError(message)), room=room, pool=8)

    for message in ("FATAL:  sorry, too many clients already", "FATAL:  remaining connection slots are reserved for roles"):
        code, detail = said(message)
        assert (code, "The database allows 20 connections (max_connections) and all are in use." in detail) == (
            "connections_in_use",
            True,
        )
    assert "allows this database 7 connections" in said('FATAL:  too many connections for database "x"')[1]
    assert "All 8 database connections of this server process" in explain(PoolTimeout(), room=room, pool=8)[1]
    assert said("server closed the connection unexpectedly")[0] == "database_unavailable"


def test_a_database_that_answers_and_is_full_is_not_said_to_be_away(sessions: sessionmaker[Session]) -> None:
    from app.outages import explain

    with sessions() as session:
        session.execute(text("SET LOCAL work_mem = '64kB'"))
        session.execute(text("SET LOCAL temp_file_limit = '64kB'"))
        with pytest.raises(OperationalError) as limited:
            session.execute(text("SELECT i FROM generate_series(1, 100000) AS i ORDER BY md5(CAST(i AS text))")).all()
    code, detail = explain(limited.value, room=None, pool=8)
    assert (code, detail.startswith("The request reached a limit that is set in the database.")) == ("database_full", True)
    for kind, begun in ((DiskFull, "The disk of the database is full."), (OutOfMemory, "The database is out of memory.")):
        code, detail = explain(OperationalError("", {}, kind("could not extend")), room=None, pool=8)
        assert (code, detail.startswith(begun), "Try again" in detail) == ("database_full", True, False)
