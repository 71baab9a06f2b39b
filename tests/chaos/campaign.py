"""One fault of the suite: the jobs that it hits, the moments at which it strikes, and its line of the table."""

import contextlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import psycopg

from tests.chaos.arena import Arena
from tests.chaos.auditor import Audit, Strike, Until, audit, connect, recoveries, setbacks
from tests.chaos.ledger import Ledger, Line

ENDED = "SELECT count(*) AS n FROM jobs WHERE name = %s AND state IN ('succeeded', 'failed', 'cancelled')"


class Campaign:
    """`submit` jobs, `strike`, and `finish`; the title is the name of every job and the first column of the table."""

    def __init__(self, arena: Arena, ledger: Ledger, title: str) -> None:
        self.arena, self.title = arena, title
        self._ledger = ledger
        self._began = time.monotonic()
        self.told: list[str] = []
        self.poison: set[str] = set()
        self.cancelled: set[str] = set()
        self.strikes: list[Strike] = []

    def submit(self, count: int = 1, **spec: Any) -> list[str]:
        """So many probe jobs, in turn by three owners, each with its own text."""
        made = [
            self.arena.submit(
                self.title, **{"owner": ("ann", "bob", "cem")[n % 3], "text": f"{self.title} {len(self.told) + n}", **spec}
            )
            for n in range(count)
        ]
        self.told += made
        return made

    def strike(self, until: Until = "commit", job: str | None = None, *, at: datetime | None = None) -> Strike:
        """Notes that the fault struck, now or `at` a moment past. With `start` and `end`, the next start or end of `job` counts."""
        made = Strike(at or datetime.now(UTC), until, job)
        self.strikes.append(made)
        return made

    def recovered(self, strike: Strike, seconds: float = 120) -> float:
        """Waits until the service has recovered from a strike; how long it took."""

        def measured() -> list[float]:
            with contextlib.suppress(psycopg.Error, OSError, ValueError), connect(self.arena.running.database_url) as connection:
                return recoveries(connection, self.title, [strike])
            return []  # the database is away

        return float(self.arena.until(measured, seconds, f"recovery from {strike} ({self.title})")[0])

    def ended(self) -> int:
        """How many of its jobs are over."""
        return int(self.arena.sql(ENDED, self.title)[0]["n"])

    def finish(self, seconds: float, *, note: str = "") -> Audit:
        """Waits for every job to end, at most `seconds` from one end to the next; audits them, adds the line, and fails if anything is wrong."""
        ended, moved = -1, time.monotonic()
        while ended < len(self.told) and time.monotonic() < moved + seconds:
            before, ended = ended, self.ended()
            moved = time.monotonic() if ended > before else moved
            time.sleep(0.2)
        with connect(self.arena.running.database_url) as connection:
            found = audit(
                connection, self.title, self.told, objects=self.arena.objects, poison=self.poison, cancelled=self.cancelled
            )
            strikes = self.strikes or setbacks(connection, self.title)
            times = recoveries(connection, self.title, strikes)
        took = time.monotonic() - self._began
        self._ledger.add(Line.of(self.title, found, times, _what(strikes), took, note))
        assert found.clean, f"{found}\n{self.arena.logs()}"
        assert len(times) == len(strikes), f"{len(strikes)} strikes, and only {times} recoveries"
        return found


def _what(strikes: Iterable[Strike]) -> str:
    return " or ".join(sorted({f"next {strike.until}" for strike in strikes}))
