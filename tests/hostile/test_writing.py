"""The head of an answer goes out with its body, and never waits for one that comes later."""

import asyncio
import socket
import struct
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from app.http.writing import JoinedWrites
from tests.api.process import ApiProcess

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Recorded:
    """A transport that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("close")

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("calls", "at_once", "in_the_end"),
    [
        ((HEAD, b"ok"), [HEAD + b"ok"], [HEAD + b"ok"]),
        ((HEAD, b""), [HEAD], [HEAD]),
        ((HEAD,), [], [HEAD]),
        ((HEAD, None), [HEAD, "close"], [HEAD, "close"]),
        ((HEAD, b"o", b"k"), [HEAD + b"o", b"k"], [HEAD + b"o", b"k"]),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, b"ok"), [b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD, b"ok"], None),
        ((b"part of a stream",), [b"part of a stream"], None),
    ],
)
def test_a_head_waits_for_its_body_for_one_round_of_the_loop(
    calls: tuple[bytes | None, ...], at_once: list[Any], in_the_end: list[Any] | None
) -> None:
    """None in `calls` closes the connection."""

    async def go() -> None:
        below = Recorded()
        joined = JoinedWrites(below, asyncio.get_running_loop())  # type: ignore[arg-type]
        for data in calls:
            joined.close() if data is None else joined.write(data)
        assert below.told == at_once
        await asyncio.sleep(0)
        assert below.told == (at_once if in_the_end is None else in_the_end)
        assert joined.is_closing() is False

    asyncio.run(go())


def test_an_answer_is_one_segment_and_a_stream_begins_before_its_first_event(api: ApiProcess, ada: httpx2.Client) -> None:
    """The second segment of each answer was a second message to the kernel, and woke the client a second time."""
    job = ada.post("/v1/calibrations", json={"model": "demo"}).json()["id"]
    headers = f"Host: x\r\nAuthorization: {ada.headers['Authorization']}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", urlsplit(api.url).port or 0), timeout=20) as connection:
        for _ in range(10):
            connection.sendall(f"GET /v1/jobs/{job} HTTP/1.1\r\n{headers}".encode())
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(1 << 20)
            assert answer.startswith(b"HTTP/1.1 200")
        assert segments_in(connection) == 10
        connection.sendall(f"GET /v1/jobs/{job}/events?after=1000 HTTP/1.1\r\nAccept: text/event-stream\r\n{headers}".encode())
        assert b"text/event-stream" in connection.recv(1 << 20)


def segments_in(connection: socket.socket) -> int:
    """How many segments with data arrived: `tcpi_data_segs_in` of Linux's `struct tcp_info`."""
    return int(struct.unpack_from("I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 152)[0])
