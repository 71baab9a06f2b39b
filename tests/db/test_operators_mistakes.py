"""An operator's mistake about the database ends a command with one sentence and the remedy, without a traceback or the password; commands take
what is right, and one that only reads needs no pepper and changes no folder."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, text

from app.db import make_engine
from app.dsn import database_url as with_driver
from app.embedded.postgres import Postgres
from app.migrate import LOCK
from tests.forked import Forking

Said = Callable[..., str]
ROOT = Path(__file__).parents[2]
SECRET = "hunter2"
COMMANDS = {
    "prepare": ["-m", "app.cli", "prepare"],
    "server": ["-m", "app.server", "--port", "0"],
    "worker": ["-m", "celery", "-A", "workers.celery_app", "worker", "-n", "light-0@here"],
    "doctor": ["-m", "app.cli", "doctor"],
    "up": ["-m", "app.cli", "up", "--port", "0"],
    "keys": ["-m", "app.cli", "keys", "list"],
    "make a key": ["-m", "app.cli", "keys", "create", "ann"],
    "quotas": ["-m", "app.cli", "quotas", "verify"],
}


@pytest.fixture
def said(forking: Forking, tmp_path: Path) -> Said:
    """Runs a command, which must fail without a traceback or the password, and returns what it printed."""

    def said(command: str, url: str, *, anew: bool = False, **environment: str) -> str:
        """anew: in a process that Python starts, with nothing imported yet."""
        given = {
            **os.environ,
            "DATABASE_URL": url,
            "BINNACLE_HOME": str(tmp_path),
            "BINNACLE_KEY_PEPPER": "p" * 64,
            **environment,
        }
        if anew:
            done = subprocess.run(
                [sys.executable, *COMMANDS[command]], env=given, cwd=ROOT, capture_output=True, text=True, timeout=120
            )
            return checked(done.returncode, done.stdout + done.stderr)
        status, out, err = forking.run(COMMANDS[command], env=given, folder=tmp_path)
        return checked(status, out + err)

    return said


def checked(status: int, printed: str) -> str:
    """The words of a command that failed as it should."""
    assert status != 0, printed
    assert "Traceback" not in printed
    assert SECRET not in printed
    return " ".join(printed.split())


@contextmanager
def administering(url: str) -> Iterator[Connection]:
    """A connection as the owner of the database; commits at the end."""
    engine = make_engine(url, pool_size=1)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (f"postgres://u:{SECRET}@h/db", f"postgresql+psycopg://u:{SECRET}@h/db"),
        (f"postgresql://u:{SECRET}@h:5432/db?sslmode=require", f"postgresql+psycopg://u:{SECRET}@h:5432/db?sslmode=require"),
        ("postgresql+psycopg:///db?host=/run/postgresql", "postgresql+psycopg:///db?host=/run/postgresql"),
        ("postgresql://u:a%40b%2Fc@h/db", "postgresql+psycopg://u:a%40b%2Fc@h/db"),
        ("postgresql://u@[::1]:5432/db", "postgresql+psycopg://u@[::1]:5432/db"),
        ("postgresql://u@[::1]/db", "postgresql+psycopg://u@[::1]/db"),
    ],
)
def test_the_usual_forms_of_an_address_are_taken(given: str, read: str) -> None:
    assert with_driver(given) == read
    assert make_url(read).database == "db"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_invalid_address_is_refused_by_every_command(command: str, said: Said) -> None:
    printed = said(command, f"mysql://u:{SECRET}@h/db", anew=True)
    assert "must begin with postgresql://" in printed
    assert "DATABASE_URL is not valid" in printed


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (f"u:{SECRET}@h/db", "must begin with postgresql://"),
        (f"postgresql://u:{SECRET}@{SECRET}@h/db", "%40 for @"),
        (f"postgresql://u:{SECRET}/{SECRET}@h/db", "%2F for /"),
        (f"postgresql://u:{SECRET}@h:port/db", "a number from 1 to 65535"),
        (f"postgresql://u:p?{SECRET}@h/db", "%3F for ?"),
        (f"postgresql://u:{SECRET}@h1:5432,h2:5432/db", "?host=HOST1:5432&host=HOST2:5432"),
    ],
)
def test_an_invalid_address_is_refused_with_its_remedy(url: str, remedy: str, said: Said) -> None:
    printed = said("prepare", url)
    assert remedy in printed
    assert "DATABASE_URL is not valid" in printed


@pytest.mark.parametrize("command", ["server", "up"])
def test_another_invalid_setting_is_named_by_its_variable(command: str, said: Said) -> None:
    printed = said(command, "postgresql://h/db", BINNACLE_LEASE_TTL="-1")
    assert "BINNACLE_LEASE_TTL is not valid" in printed


@pytest.mark.parametrize("command", ["keys", "quotas"])
def test_a_database_that_does_not_answer_is_named_without_its_password(command: str, said: Said) -> None:
    printed = said(command, f"postgresql://u:{SECRET}@127.0.0.1:1/db")
    assert "error: database_unreachable: postgresql://u:***@127.0.0.1:1/db does not answer" in printed
    printed = said(command, f"postgresql://u@/db?host=127.0.0.1:1&password={SECRET}&sslpassword={SECRET}")
    assert "error: database_unreachable: postgresql://u@/db?host=127.0.0.1%3A1 does not answer" in printed


@pytest.mark.parametrize("command", ["prepare", "make a key"])
def test_a_database_that_can_only_be_read_is_told_from_the_primary(
    command: str, empty_database_url: str, database_url: str, said: Said
) -> None:
    url = empty_database_url if command == "prepare" else database_url
    with administering(url) as connection:
        connection.execute(text(f'ALTER DATABASE "{make_url(url).database}" SET default_transaction_read_only = on'))
    assert "error: database_read_only: " in said(command, url)


def test_a_database_that_answers_and_refuses_is_not_said_to_be_silent(empty_database_url: str, said: Said) -> None:
    given = make_url(empty_database_url)
    patient = given.update_query_dict({"options": "-c lock_timeout=50"}).render_as_string(hide_password=False)
    with administering(empty_database_url) as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        printed = said("prepare", patient)
    assert "answers, and refused a statement: canceling statement due to lock timeout" in printed


@pytest.mark.parametrize("command", ["keys", "quotas"])
def test_a_database_without_tables_is_reported_with_the_command_that_makes_them(
    command: str, said: Said, empty_database_url: str
) -> None:
    assert "database_not_prepared: The database is empty" in said(command, empty_database_url)


def test_keys_are_listed_without_the_pepper(forking: Forking, database_url: str, tmp_path: Path) -> None:
    """Only making a key needs it: a key that leaked is revoked from any shell that reaches the database."""
    given = {name: value for name, value in os.environ.items() if name != "BINNACLE_KEY_PEPPER"}
    status, _, err = forking.run(
        COMMANDS["keys"], env={**given, "DATABASE_URL": database_url, "BINNACLE_HOME": str(tmp_path)}, folder=tmp_path
    )
    assert status == 0, err


def test_a_role_that_may_not_make_tables_is_told_who_can_let_it(postgres: Postgres, empty_database_url: str, said: Said) -> None:
    """CREATE on the schema public is the database owner's alone since Postgres 15."""
    name = make_url(empty_database_url).database
    with postgres.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS narrow")
        connection.execute(f"CREATE ROLE narrow LOGIN PASSWORD '{SECRET}'")
    with administering(empty_database_url) as connection:
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    url = make_url(empty_database_url).set(username="narrow", password=SECRET).render_as_string(hide_password=False)
    printed = said("prepare", url)
    assert f'ALTER DATABASE "{name}" OWNER TO "narrow"' in printed
    nameless = make_url(url)._replace(username=None, password=None).render_as_string(hide_password=False)
    assert f'ALTER DATABASE "{name}" OWNER TO "narrow"' in said("prepare", nameless, PGUSER="narrow", PGPASSWORD=SECRET)


def test_a_role_that_does_not_own_the_tables_is_told_how_to_get_them(
    postgres: Postgres, empty_database_url: str, said: Said, forking: Forking, tmp_path: Path
) -> None:
    name = make_url(empty_database_url).database
    with postgres.connect() as connection:
        for role in ("first", "second"):
            connection.execute(f"DROP ROLE IF EXISTS {role}")
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
        connection.execute(f'ALTER DATABASE "{name}" OWNER TO first')
    first, second = (
        make_url(empty_database_url).set(username=role, password=SECRET).render_as_string(hide_password=False)
        for role in ("first", "second")
    )
    given = {**os.environ, "BINNACLE_HOME": str(tmp_path), "BINNACLE_KEY_PEPPER": "p" * 64}
    assert forking.run(COMMANDS["prepare"], env={**given, "DATABASE_URL": first}, folder=tmp_path)[0] == 0
    remedy = 'REASSIGN OWNED BY "OWNER" TO "second"'
    assert remedy in said("prepare", second)
    with administering(empty_database_url) as connection:
        connection.execute(text(remedy.replace('OWNER"', 'first"')))
    assert forking.run(COMMANDS["prepare"], env={**given, "DATABASE_URL": second}, folder=tmp_path)[0] == 0


@pytest.mark.parametrize("command", ["prepare", "doctor"])
def test_another_program_s_database_is_left_alone(command: str, empty_database_url: str, said: Said) -> None:
    with administering(empty_database_url) as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('f00dcafe')"))
    printed = said(command, empty_database_url)
    assert "another program" in printed
    assert "f00dcafe" in printed
    with administering(empty_database_url) as connection:
        assert connection.scalar(text("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")) == 1


@pytest.mark.parametrize("command", ["doctor", "keys"])
def test_a_command_that_only_reads_leaves_the_folder_as_it_is(command: str, forking: Forking, tmp_path: Path) -> None:
    """A reading command neither closes the data folder to other accounts nor makes `logs` in it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    given = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | {"BINNACLE_HOME": str(shared)}
    forking.run(COMMANDS[command], env=given, folder=tmp_path)
    assert shared.stat().st_mode & 0o777 == 0o755
    assert list(shared.iterdir()) == []


def test_the_doctor_notes_a_superuser(forking: Forking, database_url: str, tmp_path: Path) -> None:
    given = {**os.environ, "DATABASE_URL": database_url, "BINNACLE_HOME": str(tmp_path)}
    _, out, _ = forking.run(COMMANDS["doctor"], env=given, folder=tmp_path)
    assert "is a superuser" in " ".join(out.split())
