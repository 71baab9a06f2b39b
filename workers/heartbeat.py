"""The thread beside a running job: renews its lease, writes its progress, and hears of cancellation.

Everything it learns it leaves in fields that the handler's `check()` reads; nothing here touches the model. The lease counts from before a
renewal was sent, on this process's own monotonic clock: when the last one is `ttl - margin` old the job must stop, whatever the
database, another worker or anybody's wall clock says.
"""

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.jobs import claims
from app.jobs.claims import Lease
from app.jobs.transitions import Superseded
from workers.process import WorkerProcess

log = structlog.get_logger(__name__)

SETTLED_SECONDS = 0.5
"""A pace is not read from a shorter time."""
TELLING_PART = 0.05
"""The part of a phase whose first units tell how long it takes, with what its beginning cost."""


@dataclass
class Phase:
    """The handler's last word on where it is. `share` is the part of the whole job's work in this phase, `before` in those before it; `after` is
    what the later phases will take in seconds, where that was measured."""

    name: str
    total: int
    unit: str
    stall_seconds: float
    share: float
    before: float
    began: float
    done: int = 0
    after: float | None = None
    first: tuple[float, int] | None = None

    def move(self, done: int, now: float) -> None:
        """`done` units are finished; `now` is a monotonic time, as `began` is."""
        self.done = min(done, self.total)
        if self.first is None and self.done:
            self.first = now, self.done

    def seconds_left(self, now: float) -> float | None:
        """Until the whole job ends, at this phase's pace; None before anything can be said.

        The pace is that since the first units were done: before them a phase pays once for its beginning (reading the prompts of a batch).
        Where they are a good part of the phase they tell enough by themselves.
        """
        if self.first is None or now - self.began < SETTLED_SECONDS:
            return None
        at, units = self.first
        if self.done > units and now - at >= SETTLED_SECONDS:
            left = (now - at) / (self.done - units) * (self.total - self.done)
        elif self.done >= TELLING_PART * self.total:
            left = (now - self.began) / self.done * (self.total - self.done)
        else:
            return None
        if self.after is not None:
            return left + self.after
        return left + (now - self.began + left) * max(0.0, 1 - self.before - self.share) / self.share


class Heartbeat:
    """Runs from claim to ending; a context manager. Its fields are read by the job's thread, its methods called by it."""

    def __init__(self, process: WorkerProcess, lease: Lease, claimed_at: float) -> None:
        self._process = process
        self._lease = lease
        self._settings = process.settings.lease
        self._renewed = claimed_at
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._unwritten: list[Phase] = []
        self._phase: Phase | None = None
        self._moved = False
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
        """Whether the lease is, or may be, somebody else's."""
        return self._superseded or time.monotonic() - self._renewed > self._settings.ttl - self._settings.margin

    def begin(self, phase: Phase) -> None:
        """The handler entered a phase."""
        with self._lock:
            self._phase = phase
            self._unwritten.append(phase)
        self._wake.set()

    def move(self, done: int | None) -> None:
        """The handler made progress (None: it lives, but has nothing to count)."""
        with self._lock:
            if self._phase is not None and done is not None:
                self._phase.move(done, time.monotonic())
            self._moved = True

    def flush(self) -> None:
        """Writes what is unwritten, from the job's own thread, before its ending; an outage here is the ending's to meet."""
        with contextlib.suppress(SQLAlchemyError, Superseded):
            self._write()

    def _run(self) -> None:
        tick = min(1.0, self._settings.ttl / 6)
        while not self._stop.is_set():
            self._wake.wait(tick)
            self._wake.clear()
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
        self.cancelled = self.cancelled or job.cancel_requested_at is not None

    def _write(self) -> None:
        with self._writing:
            self._write_alone()

    def _write_alone(self) -> None:
        with self._lock:
            entered, self._unwritten = self._unwritten, []
            moved, self._moved = self._moved, False
            current = self._phase
        try:
            for phase in entered:
                self._report(phase, phase_event=True)
            if moved and current is not None:
                self._report(current, phase_event=False)
        except SQLAlchemyError:
            with self._lock:
                self._unwritten, self._moved = entered + self._unwritten, self._moved or moved
            raise

    def _report(self, phase: Phase, *, phase_event: bool) -> None:
        left = phase.seconds_left(time.monotonic())
        values: dict[str, Any] = {
            "phase": phase.name,
            "progress_done": phase.done,
            "progress_total": phase.total,
            "progress_unit": phase.unit,
            "stall_seconds": phase.stall_seconds,
            "eta_at": None if left is None else text(f"now() + interval '{left:.3f} seconds'"),
        }
        with self._process.sessions.begin() as session:
            job = claims.report(session, self._lease.job.id, self._lease.token, phase_event=phase_event, **values)
        self.cancelled = self.cancelled or job.cancel_requested_at is not None
