"""The fixtures of the other tests give each test a migrated database of its own, quickly."""

import time
from collections.abc import Callable

from sqlalchemy import create_engine, inspect, text

from app.embedded.postgres import Postgres
from app.migrate import upgrade
from tests.services import _create, _drop


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    found = set(inspect(engine).get_table_names())
    engine.dispose()
    return found


def test_each_new_database_is_migrated_and_shared_with_no_other_test(new_database: Callable[[], str]) -> None:
    one, other = new_database(), new_database()
    engine = create_engine(one)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE mine (a int)"))
    engine.dispose()
    assert "mine" in tables(one)
    assert "mine" not in tables(other)
    assert {"jobs", "alembic_version"} <= tables(other)


def test_a_new_database_takes_a_fraction_of_the_time_of_its_migrations(
    postgres: Postgres, new_database: Callable[[], str]
) -> None:
    """A tenth of it, whatever the machine; as long as they take, if it were migrated itself."""
    empty = _create(postgres, template="template0")
    migrations = _seconds(lambda: upgrade(empty))
    _drop(postgres, empty)
    assert min(_seconds(new_database) for _ in range(5)) < migrations / 2


def _seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def test_a_database_still_in_use_is_dropped_all_the_same(postgres: Postgres) -> None:
    url = _create(postgres, template="template0")
    engine = create_engine(url)
    with engine.connect() as held:
        held.execute(text("SELECT 1"))
        _drop(postgres, url)
        held.invalidate()
    engine.dispose()
    name = url.split("@/")[1].split("?")[0]
    with postgres.connect() as connection:
        assert connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None
