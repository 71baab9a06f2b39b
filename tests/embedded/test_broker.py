"""The embedded broker serves Celery, is private to its account, keeps its messages when it is killed, and ends only its own processes."""

import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import kombu
import pytest
import redis

from app.embedded.broker import Broker, connect
from app.embedded.processes import working_in
from tests.services import make_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_kombu_sends_and_receives_over_the_url(own_broker: Broker) -> None:
    with kombu.Connection(own_broker.url, transport_options={"global_keyprefix": "t:"}) as connection:
        queue = connection.SimpleQueue("doorbell")
        queue.put({"ring": 1})
        message = queue.get(timeout=120)
        assert message.payload == {"ring": 1}
        message.ack()
        queue.close()


def test_the_password_is_required_and_others_cannot_read_it(own_broker: Broker) -> None:
    with connect(own_broker.url) as client:
        assert client.config_get("port")["port"] == "0"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        socket = Path(client.config_get("unixsocket")["unixsocket"])
        password = client.config_get("requirepass")["requirepass"]
    with redis.Redis(unix_socket_path=str(socket)) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert len(password) >= 40
    assert (mode(own_broker.folder), mode(own_broker.data), mode(socket.parent)) == (0o700, 0o700, 0o700)
    assert (mode(own_broker.folder / "valkey.conf"), mode(own_broker.folder / "password")) == (0o600, 0o600)
    for pid in working_in(own_broker.data):
        assert password not in Path(f"/proc/{pid}/cmdline").read_text()
    with kombu.Connection(own_broker.url) as connection:
        assert password not in connection.as_uri()  # what Celery prints when it starts


@pytest.mark.parametrize("name", ["[lab] data", 'a "b" \\c ?*'])
def test_every_character_may_stand_in_the_path_of_the_folder(name: str) -> None:
    """The server takes the path of its configuration as a pattern; where no file matched `[lab]`, it ran on TCP without a password."""
    folder = make_folder()
    broker = Broker(folder / name)
    try:
        broker.start(timeout=20)
        with connect(broker.url) as client:
            assert (client.config_get("port")["port"], client.config_get("dir")["dir"]) == ("0", str(broker.data))
    finally:
        broker.remove()
        shutil.rmtree(folder)


def test_messages_survive_a_kill(own_broker: Broker) -> None:
    with connect(own_broker.url) as client:
        client.rpush("queue", *range(100))
        assert client.execute_command("WAITAOF", 1, 0, 60_000)[0] == 1, "the log is not synced"
    own_broker.kill()
    own_broker.start()
    with connect(own_broker.url) as client:
        assert client.lrange("queue", 0, -1) == [str(n).encode() for n in range(100)]


def test_a_log_torn_at_its_end_is_loaded_up_to_the_tear(own_broker: Broker) -> None:
    with connect(own_broker.url) as client:
        client.set("whole", "1")
    own_broker.stop()
    log = next(own_broker.data.glob("appendonlydir/*.incr.aof"))
    with log.open("ab") as out:
        out.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")
    own_broker.start()
    with connect(own_broker.url) as client:
        assert client.get("whole") == b"1"


def test_a_start_leaves_other_programs_that_work_in_the_data_folder_alone(own_broker: Broker) -> None:
    """A shell, an editor or rsync may have it as working directory, and so may a `binnacle up` that was started there."""
    own_broker.stop()
    with subprocess.Popen(["sleep", "600"], cwd=own_broker.data) as stranger:
        try:
            own_broker.start()
            assert stranger.poll() is None
            assert own_broker.processes() != []
        finally:
            stranger.kill()


def test_a_broker_that_outlived_its_supervisor_is_ended_and_replaced(own_broker: Broker) -> None:
    spec = own_broker.child_spec()
    own_broker.stop()
    with subprocess.Popen(spec.argv, cwd="/", stdout=subprocess.DEVNULL, start_new_session=True) as orphan:
        deadline = time.monotonic() + 60
        while not own_broker.answers():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with connect(own_broker.url) as client:
            client.set("from", "the orphan")
        own_broker.start()
        assert orphan.wait(60) in {0, -signal.SIGTERM}
    with connect(own_broker.url) as client:
        assert client.get("from") == b"the orphan"
    assert len(working_in(own_broker.data)) == 1
