"""The migrations have one head, can be reversed, and make the schema of the models."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from app import migrate
from app.schema import metadata


def _differences(url: str) -> list[object]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
            return list(compare_metadata(context, metadata))
    finally:
        engine.dispose()


def test_there_is_one_head() -> None:
    assert ScriptDirectory.from_config(migrate._config()).get_heads() == [migrate.head_revision()]


def test_the_migrated_database_is_what_the_models_say(database_url: str) -> None:
    assert _differences(database_url) == []


def test_migrations_go_down_to_nothing_and_up_again(database_url: str) -> None:
    migrate.downgrade(database_url, "base")
    engine = create_engine(database_url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()
    migrate.upgrade(database_url)
    assert _differences(database_url) == []


def test_upgrading_twice_at_once_is_harmless(empty_database_url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate.upgrade, [empty_database_url] * 4))
    assert _differences(empty_database_url) == []
