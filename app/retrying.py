"""Repeats a call after errors that may pass, and a test until it is true. The command line has its own pauses (`binnacle.connection`)."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Failure = TypeVar("Failure", bound=Exception)


def retried(work: Callable[[], T], kind: type[Failure], pause_after: Callable[[Failure], float | None]) -> T:
    """Returns the result of `work()`. After an error of this kind, waits `pause_after(error)` seconds and calls it again; raises the error where
    that is None."""
    while True:
        try:
            return work()
        except kind as error:
            pause = pause_after(error)
            if pause is None:
                raise
        time.sleep(pause)


def comes_true(test: Callable[[], bool], seconds: float, *, every: float) -> bool:
    """Waits until `test()` is true, at most `seconds`, with `every` seconds between calls. Returns whether it came true."""
    deadline = time.monotonic() + seconds
    while not (true := test()) and time.monotonic() < deadline:
        time.sleep(every)
    return true
