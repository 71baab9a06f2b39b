"""A thread that runs alongside a job: renews its lease, writes its progress, and notices cancellation.

It stores its observations in fields that the handler's `check()` reads; it never touches the model. The lease is counted from before a renewal
was sent, on this process's own monotonic clock: when the last renewal is `ttl - margin` old the job must stop, independent of the database,
other workers and wall clocks.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import func
from sqlalchemy.exc import SQLAlchemyError

from app.jobs import claims
from app.jobs.claims import Lease, Reached
from app.jobs.models import Job
from app.jobs.transitions import Changes, Event, Superseded
from app.moments import ahead
from workers.process import WorkerProcess

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.25
"""Delay before a new phase is written, so that a phase that follows at once is written with it, and a short job's phases with its end."""
SETTLED_SECONDS = 3.0
"""The shortest time from which a pace is computed."""
TELLING_PART = 0.05
"""The share of a phase that must be finished before its duration, start-up cost included, can be estimated from its beginning; and the share of
the whole job before the duration of later phases can."""


@dataclass
class Phase:
    """The handler's last report of its phase. `share` is the part of the whole job's work in this phase, `before` the part in earlier phases;
    `after` is the measured time of the later phases in seconds, if known.

    The job counts as hung after `stall_seconds` without progress. `began` and the times of `base` and `first` use the monotonic clock. `base` is
    the time and number at which the work of this attempt began, if units of earlier attempts were counted; `first` that of its first finished
    units.
    """

    name: str
    total: int
    unit: str
    stall_seconds: float
    share: float
    before: float
    began: float
    done: int = 0
    after: float | None = None
    base: tuple[float, int] | None = None
    first: tuple[float, int] | None = None

    def move(self, done: int, now: float, *, kept: bool = False) -> None:
        """Records that `done` units are finished, the newest of them by an earlier attempt if `kept`; `now` is a monotonic time, as `began`
        is."""
        self.done = min(done, self.total)
        if kept:
            self.base, self.first = (now, self.done), None
        elif self.first is None and self.done > self._base[1]:
            self.first = now, self.done

    def seconds_left(self, now: float) -> float | None:
        """Estimates the seconds until the whole job ends, at the pace of this attempt in this phase; None before an estimate is possible.

        Shares are approximate: while little of the job is done, they say nothing of the later phases.
        """
        left, rest = self._phase_left(now), max(0.0, 1 - self.before - self.share)
        if left is None:
            return None
        if self.after is not None or not rest:
            return left + (self.after or 0.0)
        since, kept = self._base
        if (self.done - kept) / self.total * self.share < TELLING_PART:
            return None
        whole_phase = (now - since + left) / (1 - kept / self.total)
        return left + whole_phase * rest / self.share

    def _phase_left(self, now: float) -> float | None:
        """The seconds until this phase ends.

        The pace is measured from the first finished units on, because a phase has a start-up cost (reading the prompts of a batch). Where the
        first units are a large part of the phase, they suffice for the estimate.
        """
        since, kept = self._base
        if self.first is None or now - since < SETTLED_SECONDS:
            return None
        at, units = self.first
        if self.done > units:
            return None if now - at < SETTLED_SECONDS else (now - at) / (self.done - units) * (self.total - self.done)
        if self.done - kept < TELLING_PART * self.total:
            return None
        return (now - since) / (self.done - kept) * (self.total - self.done)

    @property
    def _base(self) -> tuple[float, int]:
        return self.base or (self.began, 0)


class Heartbeat:
    """Renews the lease from claim to ending; a context manager. The job's thread reads its fields and calls its methods."""

    def __init__(self, process: WorkerProcess, lease: Lease, claimed_at: float) -> None:
        self._process = process
        self._lease = lease
        self._settings = process.settings.lease
        self._renewed = claimed_at
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._unwritten: list[Event] = []
        self._phase: Phase | None = None
        self._moved = False
        self._kept = False
        self._superseded = False
        self.cancelled = lease.job.cancel_requested_at is not None
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {lease.job.id}", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=15)

    @property
    def lost(self) -> bool:
        """Whether another worker holds, or may hold, the lease."""
        return self._superseded or time.monotonic() - self._renewed > self._settings.ttl - self._settings.margin

    def begin(self, phase: Phase) -> None:
        """Records that the handler entered a phase."""
        with self._lock:
            self._phase = phase
            self._unwritten.append(("phase", {"phase": phase.name, "total": phase.total, "unit": phase.unit}))
        self._wake.set()

    def tell(self, event: Event) -> None:
        """Records an event for the job's history."""
        with self._lock:
            self._unwritten.append(event)
        self._wake.set()

    def move(self, done: int | None) -> None:
        """Records progress; None means that the handler is alive but has nothing to count."""
        with self._lock:
            if self._phase is not None and done is not None:
                self._phase.move(done, time.monotonic(), kept=self._kept)
                self._kept = False
            self._moved = True

    def kept(self) -> None:
        """Records that the handler read what an earlier attempt finished: its next progress counts that, and does not measure a pace."""
        with self._lock:
            self._kept = True

    @contextlib.contextmanager
    def unwritten(self) -> Iterator[Reached]:
        """Yields the events and progress for the caller to write in its own transaction; an error leaves them unwritten."""
        with self._writing:
            with self._lock:
                events, self._unwritten = self._unwritten, []
                moved, self._moved = self._moved, False
                current = self._phase
            try:
                yield _reached(events, current if events or moved else None)
            except BaseException:
                with self._lock:
                    self._unwritten, self._moved = events + self._unwritten, self._moved or moved
                raise

    def hear(self, job: Job) -> None:
        """Reads from the job's current row whether cancellation was requested."""
        self.cancelled = self.cancelled or job.cancel_requested_at is not None

    def _run(self) -> None:
        tick = min(1.0, self._settings.ttl / 6)
        while not self._stop.is_set():
            if self._wake.wait(tick):
                self._stop.wait(GATHER_SECONDS)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                if time.monotonic() - self._renewed >= self._settings.ttl / 3:
                    self._renew()
                self._write()
            except Superseded:
                self._superseded = True
                return
            except (SQLAlchemyError, OSError) as error:
                log.warning("heartbeat.missed", error=type(error).__name__, age=round(time.monotonic() - self._renewed, 1))

    def _renew(self) -> None:
        asked = time.monotonic()
        with self._process.sessions.begin() as session:
            job = claims.renew(session, self._lease.job.id, self._lease.token, self._settings.ttl)
            self._process.describe(session)
        self._renewed = asked
        self.hear(job)

    def _write(self) -> None:
        with self.unwritten() as reached:
            if not reached.events and not reached.values:
                return
            with self._process.sessions.begin() as session:
                job = claims.report(session, self._lease.job.id, self._lease.token, reached)
        self.hear(job)


def _reached(events: Sequence[Event], current: Phase | None) -> Reached:
    """The events, and the columns of the current phase; None leaves the columns unchanged."""
    if current is None:
        return Reached(events)
    left = current.seconds_left(time.monotonic())
    values: Changes = {
        "phase": current.name,
        "progress_done": current.done,
        "progress_total": current.total,
        "progress_unit": current.unit,
        "stall_seconds": current.stall_seconds,
        "eta_at": None if left is None else ahead(seconds=left),
        "progress_at": func.now(),
    }
    return Reached(events, values)
