"""`binnacle up --api-processes 2`: both answer on one port, one that dies is replaced, and each has its metrics."""

import os
import shutil
import signal
import socket
import urllib.request
from collections.abc import Iterator

import pytest

from tests.embedded.running import Up, until
from tests.services import make_folder


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Two free ports in a row."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port, port + 1


@pytest.fixture(scope="module")
def service(ports: tuple[int, int]) -> Iterator[Up]:
    """The running service, with two processes."""
    folder = make_folder()
    up = Up(folder / "home", {"BINNACLE_METRICS_PORT": str(ports[0])}, "--port", "0", "--device", "cpu", "--api-processes", "2")
    up.start()
    yield up
    assert up.stop() == 0, up.output()
    shutil.rmtree(folder)


def answered(up: Up) -> list[int]:
    """How many requests each process has logged."""
    return [(up.home / "logs" / f"api-{i}.log").read_text().count("/v1/me") for i in range(2)]


def test_both_answer(service: Up) -> None:
    for _ in range(40):  # each on a connection of its own; that one process gets them all has a chance of one in 5e11
        assert service.get("/v1/me")[0] == 200
    until(lambda: sum(answered(service)) == 40, 10, "40 lines in the logs")
    assert min(answered(service)) > 0


def test_each_has_its_metrics(service: Up, ports: tuple[int, int]) -> None:
    counted = 0.0
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        counted += sum(float(line.split()[-1]) for line in lines if "request_seconds_count" in line and "/v1/me" in line)
    assert counted == sum(answered(service))


def test_one_that_dies_is_replaced_and_the_other_goes_on(service: Up) -> None:
    first, second = service.processes("app.server")
    os.kill(first, signal.SIGKILL)
    until(lambda: len(set(service.processes("app.server")) - {first}) == 2, 30, "another process beside the one that lives")
    assert second in service.processes("app.server")
    for _ in range(20):  # some of these connections wait in the socket of the process that starts
        until(lambda: service.get("/v1/me")[0] == 200, 30, "an answer")


def test_a_key_that_is_revoked_at_one_is_refused_by_both(service: Up) -> None:
    """The processes share nothing but the database, and each caches keys."""
    status, made = service.post("/v1/keys", {"owner": "ada"})
    assert status == 201
    others = [service.get("/v1/me", made["key"])[0] for _ in range(20)]
    assert others == [200] * 20
    assert service.post(f"/v1/keys/{made['id']}/revoke")[0] in (200, 204)
    until(lambda: {service.get("/v1/me", made["key"])[0] for _ in range(20)} == {401}, 10, "both refuse it")
