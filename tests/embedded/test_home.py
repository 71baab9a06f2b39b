"""The data folder: its owner, its permissions, its lock; and the addresses on which the service listens."""

import fcntl
import hashlib
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.cli.checkup.stores import disk
from app.embedded.errors import EmbeddedError
from app.embedded.home import ALREADY_RUNNING, Home, Running
from app.embedded.listening import listen, local_address, url_of
from app.embedded.private import private_folder
from app.retrying import comes_true
from app.storage.factory import open_storage

RUNNING = Running(os.getpid(), "http://127.0.0.1:8000", "postgresql+psycopg://a:b@/c", "redis+socket://:d@/e", "file:///f")
HOLD = (
    "import sys, time; from pathlib import Path; from app.embedded.home import Home\n"
    "with Home(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(60)"
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_objects_are_kept_in_the_folder_even_if_its_name_has_characters_with_a_meaning_in_a_url(tmp_path: Path) -> None:
    home = Home(tmp_path / "a #1? 100%25")
    open_storage(home.objects_url).put(f"sha256/{hashlib.sha256(b'x').hexdigest()}", b"x")
    assert len([one for one in (home.folder / "objects").rglob("*") if one.is_file()]) == 1


def test_a_folder_in_use_is_refused_with_the_process_and_the_address(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(home.folder)], stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        home.publish(RUNNING)
        with pytest.raises(EmbeddedError) as refused, home.lock():
            pass
        assert home.running() == RUNNING  # the refused one takes nothing away
        other.kill()
    assert refused.value.exit_status == ALREADY_RUNNING == 3
    assert f"process {other.pid}" in refused.value.detail
    assert RUNNING.url in refused.value.detail
    assert home.running() is None  # what a killed service published is not the address of a running one
    with home.lock():  # a killed holder holds nothing
        assert home.running() is None


def test_a_start_waits_for_a_process_that_reads_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives up after half a second, in which a busy machine may not run the thread that ends the reading: longer here."""
    monkeypatch.setattr("app.embedded.home.comes_true", lambda test, _seconds, every: comes_true(test, 60, every=every))
    home = Home(tmp_path / "home")
    with (home.folder / "lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        with home.lock():
            pass


def test_secrets_are_made_once_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = Home(tmp_path / "home")
        pepper = home.pepper
        home.publish(RUNNING)
    finally:
        os.umask(before)
    assert Home(tmp_path / "home").pepper == pepper
    assert len(pepper) >= 40
    assert Home(tmp_path / "other").pepper != pepper
    assert mode(home.folder / "pepper") == mode(home.folder / "run.json") == 0o600
    assert mode(home.logs) == 0o700
    assert mode(home.folder) == (0o711 if os.geteuid() == 0 else 0o700)
    assert json.loads((home.folder / "run.json").read_text())["url"] == RUNNING.url


def test_a_folder_that_is_a_link_or_belongs_to_another_account_is_refused(tmp_path: Path) -> None:
    """Others can guess the name of a socket folder under /tmp, and make it first."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(EmbeddedError, match="folder_not_ours"):
        private_folder(tmp_path / "link")
    if os.geteuid() == 0:
        os.chown(tmp_path / "real", 65534, 65534)
        with pytest.raises(EmbeddedError, match="folder_not_ours") as refused:
            Home(tmp_path / "real")
        assert "sudo -u NAME" in refused.value.detail
        assert "Remove" not in refused.value.detail, "it holds the service's data"


@pytest.mark.parametrize("kind", ["file", "dangling link", "link to a file"])
def test_what_is_no_folder_is_refused_with_a_sentence(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("kept")
    path = tmp_path / "home"
    if kind == "file":
        path = tmp_path / "file"
    else:
        path.symlink_to(tmp_path / ("file" if kind == "link to a file" else "missing"))
    with pytest.raises(EmbeddedError, match=f"must be a folder, but it is a {'file' if kind == 'file' else 'link'}"):
        private_folder(path)
    assert (tmp_path / "file").read_text() == "kept"
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("name", [b"two\nlines", b"caf\xe9"], ids=["line break", "not UTF-8"])
def test_a_path_that_the_brokers_configuration_cannot_hold_is_refused_before_the_folder_is_made(
    tmp_path: Path, name: bytes
) -> None:
    """The broker's own error named a line of its configuration, or Python's a codec."""
    folder = tmp_path / os.fsdecode(name)
    with pytest.raises(EmbeddedError, match="has a line break or bytes that are not UTF-8") as refused:
        Home(folder)
    assert ascii(str(folder)) in refused.value.detail
    assert not folder.exists()
    assert [finding.level for finding in disk(folder)] == ["fault"]


def test_a_taken_port_is_refused_with_its_number_and_a_way_out(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as first:
        port = local_address(first)[1]
        with pytest.raises(EmbeddedError, match=rf"cannot listen on 127.0.0.1 port {port}: Address already in use.*--port 0"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 70])
def test_an_unknown_host_is_refused(host: str) -> None:
    with pytest.raises(EmbeddedError, match=rf"bad_host: '{re.escape(host)}'"):
        listen(host, 0)


def test_a_socket_on_every_address_is_reached_by_loopback() -> None:
    with listen("0.0.0.0", 0) as everywhere:
        host, port = local_address(everywhere)
        assert host == "127.0.0.1"
        socket.create_connection((host, port), timeout=120).close()
    assert url_of("::1", 8000) == "http://[::1]:8000"
