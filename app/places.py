"""Limits how many requests of a kind run at once, in all and for each user, so that a user cannot block others.

A request that waited too long, or behind too many requests of the same user, is refused with 429 and Retry-After before any work is done.
Counts are per process. Independent of HTTP: a place belongs to a name and has a size in bytes.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.errors import Problem

RETRY_SECONDS = 5


@dataclass(frozen=True)
class Bounds:
    """Limits: `most` in all, `each` per user; the same in bytes; how many requests of one user may wait, and for how many seconds."""

    most: int
    each: int
    waiting: int
    patience: float
    most_bytes: int = 1 << 62
    each_bytes: int = 1 << 62


class Places:
    """The places for one kind of work. `what` names the work in the plural for error messages: studies being planned."""

    def __init__(self, what: str, bounds: Bounds) -> None:
        self._what = what
        self._bounds = bounds
        self._held: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._queue: deque[tuple[str, int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def place(self, owner: str, size: int = 0) -> AsyncIterator[None]:
        """Returns a context that holds a place of the owner. Raises Problem 429 `too_many_at_once`."""
        await self._enter(owner, size)
        try:
            yield
        finally:
            self._leave(owner, size)

    async def _enter(self, owner: str, size: int) -> None:
        if self._take(owner, size):
            return
        if sum(name == owner for name, _, _ in self._queue) >= self._bounds.waiting:
            raise self._refused(owner)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (owner, size, turn)
        self._queue.append(waiting)
        try:
            async with asyncio.timeout(self._bounds.patience):
                await asyncio.shield(turn)
        except TimeoutError:
            if not turn.done():  # otherwise the place became free at this moment
                self._queue.remove(waiting)
                raise self._refused(owner) from None
        except BaseException:
            if turn.done():
                self._leave(owner, size)
            else:
                self._queue.remove(waiting)
            raise

    def _take(self, owner: str, size: int) -> bool:
        """Takes a place if one is free. A user without a place may take any size that fits the total."""
        bounds, own = self._bounds, self._held[owner]
        free = self._held.total() < bounds.most and (not self._held or self._bytes.total() + size <= bounds.most_bytes)
        if not free or own >= bounds.each or (own and self._bytes[owner] + size > bounds.each_bytes):
            return False
        self._held[owner] += 1
        self._bytes[owner] += size
        return True

    def _leave(self, owner: str, size: int) -> None:
        self._held[owner] -= 1
        self._bytes[owner] -= size
        if not self._held[owner]:
            del self._held[owner], self._bytes[owner]
        for waiting in list(self._queue):
            if self._take(waiting[0], waiting[1]):
                self._queue.remove(waiting)
                waiting[2].set_result(None)

    def _refused(self, owner: str) -> Problem:
        bounds, own = self._bounds, self._held[owner]
        waiting = sum(name == owner for name, _, _ in self._queue)
        limit = f"{bounds.each:,} of one user at once"
        if bounds.each_bytes < 1 << 62:
            limit += f", {bounds.each_bytes:,} bytes in all"
        detail = (
            f"{owner} has {own:,} {self._what} under way and {waiting:,} waiting; this server takes {limit}, lets {bounds.waiting:,} wait "
            f"for up to {bounds.patience:g} s, and takes {bounds.most:,} of all users together. Nothing was done: send this again in a moment."
        )
        facts = {"limit": bounds.each, "under_way": own, "waiting": waiting}
        return Problem(429, "too_many_at_once", detail, headers={"Retry-After": str(RETRY_SECONDS)}, facts=facts)
