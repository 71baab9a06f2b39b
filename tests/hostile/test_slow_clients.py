"""Clients that read nothing, only wait, or never finish a request: others are served, memory stays small, silent connections are cut."""

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from sqlalchemy import text

from tests.api.process import ApiProcess
from tests.hostile.conftest import MB, watching

POLLS = 500
STREAMS = 100
EVENTS = 20_000


@contextlib.contextmanager
def connections(api: ApiProcess, request: bytes, count: int) -> Iterator[list[socket.socket]]:
    """`count` connections that have sent `request` and read nothing; their receive buffers are as small as the kernel allows."""
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(120)
            one.connect(("127.0.0.1", urlsplit(api.url).port))
            one.sendall(request)
            held.append(one)
        yield held


def asking(path: str, key: str, *headers: str, method: str = "GET") -> bytes:
    """The bytes of a request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *headers, "", ""]).encode()


def a_job_with_a_long_history(api: ApiProcess, ada: httpx2.Client) -> str:
    """The id of a job with EVENTS events of 1 kB."""
    job = str(ada.post("/v1/calibrations", json={"model": "demo"}).json()["id"])
    with api.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO job_events (job_id, seq, type, data) SELECT :job, n, 'progress', jsonb_build_object('text', repeat('x', 1000))"
                " FROM generate_series(2, :last) n ON CONFLICT DO NOTHING"
            ),
            {"job": job, "last": EVENTS},
        )
        session.execute(text("UPDATE jobs SET event_seq = :last WHERE id = :job"), {"job": job, "last": EVENTS})
    return job


def test_streams_that_no_client_reads_hold_little_memory_and_delay_no_request(api: ApiProcess, ada: httpx2.Client) -> None:
    """Each has 20 MB to send, 2 GB in all; of each the server may hold a socket's buffer and one page of events."""
    job = a_job_with_a_long_history(api, ada)
    request = asking(f"/v1/jobs/{job}/events", api.key("ada"), "Accept: text/event-stream")
    with watching(api) as watch, connections(api, request, STREAMS) as held:
        for one in held:
            assert one.recv(12) == b"HTTP/1.1 200"
        time.sleep(3)  # in which a server that read ahead would take in far more than the bound
    assert watch.grown < 192 * MB


def test_five_hundred_long_polls_hold_little_memory_and_delay_no_request(api: ApiProcess, ada: httpx2.Client) -> None:
    """They wait for a change that does not come, without a connection to the database; a change wakes them all."""
    job = str(ada.post("/v1/calibrations", json={"model": "demo"}).json()["id"])
    tag = ada.get(f"/v1/jobs/{job}").headers["ETag"]
    request = asking(f"/v1/jobs/{job}?wait=60", api.key("ada"), f"If-None-Match: {tag}")
    with connections(api, request, POLLS) as held:
        # an ordinary request may come behind all of them, but not after the 60 s for which they wait
        with watching(api, within=50) as watch:
            deadline = time.monotonic() + 60
            while ada.get("/v1/status").json()["waiting_requests"] < POLLS:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert database_connections(api) < 60
        assert watch.grown < 96 * MB
        assert ada.post(f"/v1/jobs/{job}/cancel").status_code == 202
        assert all(one.recv(12) == b"HTTP/1.1 200" for one in held)


def database_connections(api: ApiProcess) -> int:
    """The number of connections to the test's database."""
    with api.sessions() as session:
        return int(session.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")) or 0)


HALVES = {
    "a first line without end": b"GET /" + b"a" * 100,
    "headers without end": b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200,
    "a body that does not come": b"POST /v1/calibrations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    "nothing at all": b"",
}


@contextlib.contextmanager
def halves(api: ApiProcess, count: int) -> Iterator[None]:
    """`count` open connections of each kind of HALVES."""
    with contextlib.ExitStack() as stack:
        for half in HALVES.values():
            stack.enter_context(connections(api, half, count))
        yield


def test_requests_that_never_end_delay_no_other_request(api: ApiProcess) -> None:
    with watching(api) as watch, halves(api, 200):
        time.sleep(2)  # in which `watching` asks many times; a connection that is never finished has no end to wait for
    assert watch.grown < 64 * MB


SILENCE = 6.0
"""Seconds after which the server of the next tests cuts a silent connection; half of it is longer than a busy machine holds a sender up."""


@pytest.fixture(scope="module")
def impatient(service: ApiProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """A second API on the same database, with a short limit on silence."""
    with ApiProcess(
        service.settings, tmp_path_factory.mktemp("impatient"), BINNACLE_LIMIT_SILENT_SECONDS=str(SILENCE)
    ) as process:
        yield process


def connected(api: ApiProcess, wanted: int, within: float) -> bool:
    """Whether the server comes to hold `wanted` connections to clients, by its own sockets and not by the clients'."""
    port = urlsplit(api.url).port
    deadline = time.monotonic() + within
    while True:
        held = [one for one in psutil.Process(api.process.pid).net_connections("tcp") if one.laddr.port == port and one.raddr]
        if len(held) == wanted or time.monotonic() > deadline:
            return len(held) == wanted
        time.sleep(0.05)


def test_requests_that_never_end_are_cut(impatient: ApiProcess) -> None:
    with halves(impatient, 20):
        assert connected(impatient, 20 * len(HALVES), within=SILENCE)
        assert connected(impatient, 0, within=60)


def test_a_head_sent_byte_by_byte_is_cut_in_time(impatient: ApiProcess) -> None:
    with connections(impatient, b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ", 1) as [one]:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() < began + 10 * SILENCE:
                one.sendall(b"a")
                time.sleep(0.2)
        assert time.monotonic() < began + 5 * SILENCE, "it was cut only by this test"


def test_an_empty_line_after_an_answer_does_not_keep_the_connection(impatient: ApiProcess) -> None:
    """An empty line may stand before a request, and does not begin one."""
    assert connected(impatient, 0, within=60)
    with connections(impatient, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 1) as [one]:
        assert one.recv(12) == b"HTTP/1.1 200"
        one.sendall(b"\r\n")
        assert connected(impatient, 0, within=60)


def test_the_rest_of_a_body_that_was_answered_early_does_not_keep_the_connection(impatient: ApiProcess) -> None:
    """Without a key the answer does not wait for the body."""
    assert connected(impatient, 0, within=60)
    head = b"POST /v1/calibrations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
    with connections(impatient, head, 1) as [one]:
        assert one.recv(12) == b"HTTP/1.1 401"
        one.sendall(b"}")
        assert connected(impatient, 0, within=60)


def test_a_header_after_a_body_is_not_one_of_the_request(api: ApiProcess) -> None:
    """A proxy in front checks the head alone, so a key that follows the body must not count."""
    own = f"Authorization: Bearer {api.key('ada')}\r\n".encode()
    head = b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    for request, status in ((head + own + b"\r\n0\r\n\r\n", b"200"), (head + b"\r\n0\r\n" + own + b"\r\n", b"401")):
        with connections(api, request, 1) as [one]:
            assert one.recv(12) == b"HTTP/1.1 " + status


def test_a_body_in_many_chunks_is_taken_however_it_is_cut_up(api: ApiProcess) -> None:
    """Many chunks in one piece, which ends after a chunk's size, are not taken for too many headers."""
    chunked = "Transfer-Encoding: chunked"
    head = asking("/v1/calibrations", api.key("ada"), "Content-Type: application/json", chunked, method="POST")
    body = b"1\r\n \r\n" * 40_000 + b"10\r\n"
    with connections(api, head, 1) as [one]:
        for _ in range(2):
            one.sendall(body)
            time.sleep(0.2)
            one.sendall(b" " * 16 + b"\r\n")
        one.sendall(b'11\r\n{"model": "demo"}\r\n0\r\n\r\n')
        assert one.recv(12) == b"HTTP/1.1 202"


def test_a_body_that_drips_in_is_taken(impatient: ApiProcess) -> None:
    """Slow is not silent."""
    body = b'{"model": "demo"}'
    length = f"Content-Length: {len(body)}"
    head = asking("/v1/calibrations", impatient.key("ada"), "Content-Type: application/json", length, method="POST")
    with connections(impatient, head, 1) as [one]:
        for start in range(0, len(body), 6):
            one.sendall(body[start : start + 6])
            time.sleep(SILENCE / 2)
        assert one.recv(12) == b"HTTP/1.1 202"


def test_answers_that_no_client_reads_are_cut(impatient: ApiProcess) -> None:
    """A stream of 20 MB, and a short one that the server has finished while its end still lies in the buffers."""
    with impatient.client("ada") as ada:
        job = a_job_with_a_long_history(impatient, ada)
    key = impatient.key("ada")
    assert connected(impatient, 0, within=60)
    for path in (f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/events?after={EVENTS - 100}"):
        with connections(impatient, asking(path, key, "Accept: text/event-stream"), 10) as held:
            for one in held:
                assert one.recv(12) == b"HTTP/1.1 200"
            assert connected(impatient, 10, within=SILENCE)
            assert connected(impatient, 0, within=60)


def test_an_idle_stream_is_not_cut(impatient: ApiProcess) -> None:
    """The client has read everything; nothing happens for longer than the limit; then an event still arrives."""
    with impatient.client("ada") as ada:
        job = ada.post("/v1/calibrations", json={"model": "demo"}).json()["id"]
        with ada.stream("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as stream:
            lines = stream.iter_lines()
            assert "submitted" in next(line for line in lines if line.startswith("data"))
            time.sleep(1.5 * SILENCE)  # longer than the limit, and shorter than two
            assert ada.post(f"/v1/jobs/{job}/cancel").status_code == 202
            assert "cancelled" in next(line for line in lines if line.startswith("data"))


def cut_while_sending(connection: socket.socket, piece: bytes) -> bool:
    """Whether the server cuts the connection before it has read 100 MB of such pieces."""
    try:
        for _ in range(100_000):
            connection.sendall(piece)
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("piece", [b"X-A: " + b"a" * 1000 + b"\r\n", b"a" * 1000], ids=["many headers", "one header"])
def test_headers_without_end_are_cut(api: ApiProcess, piece: bytes) -> None:
    """No key was checked yet, so headers may not fill the memory: after 64 kB the connection is cut."""
    before = api.memory()
    with connections(api, b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX: ", 1) as [one]:
        assert cut_while_sending(one, piece)
        assert api.memory() - before < 16 * MB


@pytest.mark.parametrize("piece", [b"X-A: " + b"a" * 1000 + b"\r\n", b"a" * 1000], ids=["many trailers", "one trailer"])
def test_headers_without_end_after_a_body_are_cut(api: ApiProcess, piece: bytes) -> None:
    """A body in chunks may be followed by headers."""
    before = api.memory()
    head = b"POST /v1/calibrations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: "
    with connections(api, head, 1) as [one]:
        assert cut_while_sending(one, piece)
        assert api.memory() - before < 16 * MB


def test_headers_of_an_ordinary_size_are_read_however_they_are_cut_up(api: ApiProcess) -> None:
    """40 kB is more than any client sends."""
    request = asking("/v1/jobs", api.key("ada"), "X: " + "a" * 40_000)
    with connections(api, b"", 1) as [one]:
        for start in range(0, len(request), 1000):
            one.sendall(request[start : start + 1000])
        assert one.recv(12) == b"HTTP/1.1 200"
