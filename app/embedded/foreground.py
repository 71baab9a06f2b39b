"""Runs children in the foreground: started tier by tier, restarted when they die, stopped in reverse order on a signal.

One thread with one loop: the kernel ties the children's lives to the thread that started them. The process holds no job and no request; if it
is killed, its children stop too, and the next start recovers everything.
"""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from app.embedded import commands
from app.embedded.children import Child, ChildSpec, stop_together
from app.embedded.errors import EmbeddedError
from app.embedded.home import Home
from app.embedded.processes import carrying, end_all

TICK = 0.2
START_TIMEOUT = 120.0
SERVERS = frozenset({"postgres", "broker"})


class _AskedToStop(Exception):
    """Raised to abort the start at its next step."""


class Foreground:
    """The children of one data folder. say: shows a line to the user."""

    def __init__(self, home: Home, say: Callable[[str], None]) -> None:
        self._home = home
        self._say = say
        self._tiers: list[list[Child]] = []
        self._signals = 0

    def run(self, start: Callable[[], None]) -> None:
        """Calls `start`, then watches its children until SIGINT, SIGTERM or SIGHUP; a second signal stops them at once.

        The caller must hold the folder's lock. Raises the error of `start` after stopping the children that it had launched.
        """
        before = self._catch_signals()
        try:
            self._clear_leftovers()
            start()
            while not self._signals:
                self._tick()
                time.sleep(TICK)
            self._say("stopping")
        except _AskedToStop:
            self._say("stopped before it was ready")
        finally:
            self._home.withdraw()
            self._stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def tier(self) -> list[Child]:
        """Returns a new tier, which stops before all earlier tiers."""
        self._tiers.append([])
        return self._tiers[-1]

    def launch(self, spec: ChildSpec, tier: list[Child]) -> Child:
        """Starts a child in `tier`."""
        child = Child(spec)
        tier.append(child)
        child.start()
        return child

    def wait_ready(self, child: Child) -> None:
        """Waits until the child is ready. Raises EmbeddedError when it exits first or takes too long."""
        child.wait_ready(START_TIMEOUT, lambda: self._signals > 0)
        if self._signals:
            raise _AskedToStop

    def _tick(self) -> None:
        for tier in self._tiers:
            for child in tier:
                if news := child.tick(time.monotonic()):
                    self._say(news)

    def _stop(self) -> None:
        """Stops the tiers in reverse order, each completely before the tier it depends on. The servers always get time to write."""
        for level, tier in reversed(list(enumerate(self._tiers))):
            ours = not any(child.spec.name in SERVERS for child in tier)
            stop_together(tier, impatient=(lambda: self._signals > 1) if ours else (lambda: False))
            del self._tiers[level]

    def _clear_leftovers(self) -> None:
        """Stops the API and workers of an earlier run on this folder that was killed; the servers clean up for themselves."""
        mark = f"{commands.MARK}={self._home.folder}"
        if not (left := carrying(mark)):
            return
        self._say(f"stopping processes that an earlier run left behind: {len(left)}")
        if not end_all(lambda: carrying(mark), [(signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)]):
            raise EmbeddedError(
                "leftover_processes", f"processes {carrying(mark)} of an earlier run cannot be stopped. Stop them by hand."
            )

    def _catch_signals(self) -> dict[signal.Signals, Any]:
        def note(_number: int, _frame: FrameType | None) -> None:
            self._signals += 1

        ours = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # with nohup, the process must outlive its terminal
            ours.append(signal.SIGHUP)
        return {number: signal.signal(number, note) for number in ours}
