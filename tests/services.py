"""The real Postgres and broker for the tests, one of each per test process, and a private one for tests that kill them.

database_url          a migrated database of its own for each test, dropped afterwards
empty_database_url    the same, without the migrations
new_database          a function that makes further ones
broker_url            the shared broker; keep to `broker_prefix`, never FLUSHALL it
broker_prefix         a key prefix of its own for each test (settings.broker_prefix)
own_postgres          a server with a migrated database that the test may kill, stop and start
own_broker            a broker that the test may kill, stop, start and flush
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.embedded.broker import Broker, connect
from app.embedded.postgres import DATABASE, Postgres

TEMPLATE = "migrated"
MEMORY = Path("/dev/shm")
_numbers = itertools.count(1)


def make_folder(parent: str = "/tmp") -> Path:
    """A short temporary folder (sockets need short paths) that the database's account gets through when we are root."""
    folder = Path(tempfile.mkdtemp(prefix=f"bnk-{os.getpid()}-", dir=parent))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return folder


def make_quick_folder() -> Path:
    """The same in memory where there is room, which makes copying a database several times faster."""
    for left in MEMORY.glob("bnk-*"):  # by tests that were killed
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 << 30
    return make_folder(str(MEMORY) if roomy else "/tmp")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The shared cluster. For tests that need a server rather than a database; do not stop it."""
    folder = make_quick_folder()
    server = Postgres(folder / "pg", durable=False)
    server.start()
    with server.connect() as connection:
        # databases here live for seconds: tidying them up would only take time from the tests
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.remove()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _template(postgres: Postgres) -> str:
    """A database migrated once by Alembic; the others are copies of it."""
    from app.migrate import upgrade

    with postgres.connect() as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    upgrade(postgres.url_of(TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def postgres_url_factory(postgres: Postgres, _template: str) -> Callable[[], str]:
    """Makes a migrated database at each call and returns its URL; whoever calls it lets the session's end remove it."""
    return lambda: _create(postgres, template=_template)


@pytest.fixture
def new_database(postgres: Postgres, _template: str) -> Iterator[Callable[[], str]]:
    """Makes a migrated database at each call and returns its URL; all are dropped after the test."""
    made: list[str] = []

    def make() -> str:
        made.append(_create(postgres, template=_template))
        return made[-1]

    yield make
    for url in made:
        _drop(postgres, url)


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A migrated, empty database for this test alone."""
    return new_database()


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """A database without any table."""
    url = _create(postgres, template="template0")
    yield url
    _drop(postgres, url)


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server of the test's own, its database `own_postgres.url` migrated."""
    from app.migrate import upgrade

    folder = make_quick_folder()
    server = Postgres(folder / "pg", durable=False)
    server.start()
    upgrade(server.url)
    yield server
    server.remove()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The shared broker server."""
    folder = make_folder()
    server = Broker(folder / "broker")
    server.start()
    yield server
    server.remove()
    shutil.rmtree(folder)


@pytest.fixture
def broker_prefix() -> str:
    """What the keys of this test begin with."""
    return f"t{os.getpid()}-{next(_numbers)}:"


@pytest.fixture
def broker_url(broker: Broker, broker_prefix: str) -> Iterator[str]:
    """URL (for kombu) of the shared broker; the keys under this test's prefix are deleted after it."""
    yield broker.url
    with connect(broker.url) as client:
        for key in list(client.scan_iter(match=f"{broker_prefix}*")):
            client.delete(key)


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """A broker of the test's own."""
    folder = make_folder()
    server = Broker(folder / "broker")
    server.start()
    yield server
    server.remove()
    shutil.rmtree(folder)


def _create(postgres: Postgres, *, template: str) -> str:
    name = f"test_{next(_numbers)}"
    with postgres.connect() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return postgres.url_of(name)


def _drop(postgres: Postgres, url: str) -> None:
    name = url.split("@/")[1].split("?", maxsplit=1)[0]
    assert name not in {DATABASE, TEMPLATE}
    with postgres.connect() as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
