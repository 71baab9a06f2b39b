"""Connections of one listening socket are shared evenly among those that accept on it, and wait in its queue while no process can accept them.

Two acceptors run in one event loop, each on a descriptor of the socket of its own, as two processes would.
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest

from app.embedded import accepting
from app.embedded.accepting import ABSENT, Acceptor, Tally, tally_file


class Named(asyncio.Protocol):
    """Sends one byte, the place of the acceptor that accepted the connection."""

    def __init__(self, place: int) -> None:
        self._place = place

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(bytes([self._place]))


@pytest.fixture
def tallies() -> Iterator[list[Tally]]:
    """One for each of two acceptors; neither has begun."""
    with tally_file(2) as file:
        yield [Tally(file.fileno(), place) for place in range(2)]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A listening socket, on which several may accept."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as opened:
        yield opened


class Crowd:
    """Connections to the socket, which stay open to the end of the test."""

    def __init__(self, listening: socket.socket, kept: ExitStack) -> None:
        self._address, self._kept = listening.getsockname(), kept

    async def open(self, number: int) -> list[int]:
        """Opens so many at once; returns the place of the acceptor that accepted each."""
        opened = [self._kept.enter_context(socket.create_connection(self._address)) for _ in range(number)]
        for one in opened:
            one.setblocking(False)
        loop = asyncio.get_running_loop()
        return [(await loop.sock_recv(one, 1))[0] for one in opened]


def run(listening: socket.socket, test: Callable[[Crowd, Callable[[Tally, int], Acceptor]], Awaitable[None]]) -> None:
    """Runs the test with a crowd, and a function that makes the acceptor of a tally and its place."""

    async def running() -> None:
        with ExitStack() as kept:
            acceptors: list[Acceptor] = []

            def accept(tally: Tally, place: int) -> Acceptor:
                own = kept.enter_context(listening.dup())
                acceptors.append(Acceptor(own, lambda: Named(place), tally))
                return acceptors[-1]

            await asyncio.wait_for(test(Crowd(listening, kept), accept), 60)
            for one in acceptors:
                one.close()
                await one.wait_closed()

    asyncio.run(running())


def test_of_connections_opened_at_once_each_accepts_half(listening: socket.socket, tallies: list[Tally]) -> None:
    async def test(crowd: Crowd, accept: Callable[[Tally, int], Acceptor]) -> None:
        for place, tally in enumerate(tallies):
            accept(tally, place)
        by = await crowd.open(100)
        assert [one.own for one in tallies] == [by.count(0), by.count(1)]
        assert 40 <= by.count(0) <= 60  # 50, unless the machine paused for longer than PATIENCE

    run(listening, test)


def test_one_that_begins_later_catches_up(
    listening: socket.socket, tallies: list[Tally], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "PATIENCE", 30)

    async def test(crowd: Crowd, accept: Callable[[Tally, int], Acceptor]) -> None:
        accept(tallies[0], 0)
        assert await crowd.open(30) == [0] * 30, "the other has not begun"
        accept(tallies[1], 1)
        assert await crowd.open(30) == [1] * 30

    run(listening, test)


def test_one_that_stops_leaves_its_connections_to_the_other(listening: socket.socket, tallies: list[Tally]) -> None:
    async def test(crowd: Crowd, accept: Callable[[Tally, int], Acceptor]) -> None:
        first, _ = (accept(tally, place) for place, tally in enumerate(tallies))
        await crowd.open(10)
        first.close()
        assert tallies[0].own == ABSENT
        assert not tallies[1].is_ahead
        assert await crowd.open(30) == [1] * 30

    run(listening, test)


def test_one_that_was_killed_is_not_waited_for(listening: socket.socket, tallies: list[Tally]) -> None:
    """Its count stays in the tally, so each connection waits `PATIENCE` before another process accepts it."""

    async def test(crowd: Crowd, accept: Callable[[Tally, int], Acceptor]) -> None:
        tallies[1].own = 0
        accept(tallies[0], 0)
        assert await crowd.open(30) == [0] * 30
        assert tallies[0].is_ahead

    run(listening, test)


def test_connections_wait_while_no_file_can_be_opened(
    listening: socket.socket, tallies: list[Tally], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "EXHAUSTED", 0.05)
    real, refused = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")] * 3

    def accepted(self: socket.socket) -> tuple[socket.socket, object]:
        if refused:
            raise refused.pop()
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accepted)

    async def test(crowd: Crowd, accept: Callable[[Tally, int], Acceptor]) -> None:
        accept(tallies[0], 0)
        assert await crowd.open(5) == [0] * 5

    run(listening, test)
    assert [record.getMessage() for record in caplog.records] == ["no connection can be accepted for a second"] * 3
