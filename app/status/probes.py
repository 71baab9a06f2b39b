"""Shares checks of outside parts: one check runs at a time, and its result is used for a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")
LASTS = 1.0
"""Seconds for which a result is used."""


class Probe(Generic[T]):
    """`await probe()` returns the result of a call of `look()` that ended less than LASTS seconds ago, else of the one running now, else of a
    new one. The call continues when its callers are cancelled.
    """

    def __init__(self, look: Callable[[], Awaitable[T]]) -> None:
        self._look = look
        self._task: asyncio.Task[T] | None = None
        self._until = 0.0

    async def __call__(self) -> T:
        if self._task is None or (self._task.done() and time.monotonic() >= self._until):
            self._task = asyncio.create_task(self._run())
        return await asyncio.shield(self._task)

    async def _run(self) -> T:
        try:
            return await self._look()
        finally:
            self._until = time.monotonic() + LASTS
