"""Watches a node's child process: ignored cancellations, hung phases, jobs past their limit, leases not renewed.

Two threads: the reader reads the job's row every `watch` seconds; the enforcer only compares monotonic clocks and sends signals, so that it
works also while the database is unavailable. The parent never imports torch and holds no lease itself.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy import Row, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.db import in_transaction
from app.devices.models import Worker
from app.errors import as_error
from app.jobs import endings
from app.jobs.models import Job
from app.jobs.states import HELD
from app.settings import LeaseSettings
from terms.documents.jobs import ErrorFacts
from terms.values import JsonObject
from workers.names import is_ours

HEARSAY_SECONDS = 6.0
NOBODYS_FAULT = frozenset({"database_outage", "database_unreachable", "drained"})

log = structlog.get_logger(__name__)


@dataclass
class Sighting:
    """The reader's last view of the job that the child runs. Times are from this process's monotonic clock.

    `unseen_for_a_lease`: its lease had ended when it was first seen, so the database could not be read for at least that long. `sent`: the last
    signal that was sent while the child lived.
    """

    job_id: str
    token: int
    pid: int
    lease_expires_at: datetime | None
    renewed_seen: float
    unseen_for_a_lease: bool = False
    terminate_at: float | None = None
    reason: JsonObject = field(default_factory=dict)
    signalled_at: float | None = None
    killed: bool = False
    sent: signal.Signals | None = None

    def is_of(self, job: Job) -> bool:
        """Whether this is the same attempt at the same job."""
        return (self.job_id, self.token) == (job.id, job.lease_token)


Holding = Row[Job, int, int, int, bool, int]
"""A row of the query in `Watch._read`: a job that a child holds (`Job`); seconds since cancellation was requested (`cancelling_for`, None if it
was not), since its last progress (`still_for`) and since its start (`running_for`); whether its lease has ended (`expired`); and seconds from
the database's start to the end of its lease (`after_start`, negative for a lease that ended before). SQLAlchemy types seconds as int; Postgres
gives a Decimal. Read by name, which mypy does not check."""


@dataclass(frozen=True)
class Death:
    """How a child died: `reason`, why this node stopped it, if it did; `meant_for`, the other job for which it was stopped; `status`, its exit
    code or signal."""

    reason: JsonObject
    meant_for: str | None
    status: str | None

    def cause(self, otherwise: str) -> JsonObject:
        """The cause for the job's events; its code is `otherwise` if this node did not stop the child."""
        named = {"meant_for": self.meant_for, "signal": self.status}
        return {"code": otherwise, **self.reason, **{name: value for name, value in named.items() if value}}


class Watch:
    """Watches the child of one node. Made once; call `start()` after the pool is up. `children` gives the pids of the living children.

    `blocked` is the reason why the node may claim no job; it is written with the sign of life.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        settings: LeaseSettings,
        worker_id: str,
        children: Callable[[], set[int]],
        blocked: Callable[[], ErrorFacts | None] = lambda: None,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._worker_id = worker_id
        self._children = children
        self._blocked = blocked
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._seen: Sighting | None = None
        self._struck: Sighting | None = None
        self._lock = threading.Lock()
        self._exit_status: str | None = None
        self._missed: tuple[str, int, float] | None = None
        self._read_at = time.monotonic()
        self._drain_by: float | None = None
        self._leaving = False

    def start(self) -> None:
        """Starts both threads; they end with the process or `stop()`."""
        threading.Thread(target=self._read_loop, name="watch reader", daemon=True).start()
        threading.Thread(target=self._enforce_loop, name="watch enforcer", daemon=True).start()

    def stop(self) -> None:
        """Asks both threads to end; returns without waiting for them."""
        self._stop.set()
        self._wake.set()

    def drain(self) -> None:
        """Starts the draining of the node: after the grace period, a job that is still held is taken from its child, without charge."""
        self._drain_by = time.monotonic() + self._settings.drain_grace

    def last_look(self) -> None:
        """Releases the jobs still held, after the children have ended: they return to the queue now and not when their lease ends."""
        self._leaving = True
        try:
            self._read()
        except (SQLAlchemyError, OSError) as error:
            log.warning("watch.blind", error=type(error).__name__)

    def child_lost(self, status: str) -> None:
        """Called when Celery reports that the child died (`signal 9 (SIGKILL)`, `exitcode 1`): checks at once instead of in the next round."""
        self._exit_status = status
        self._wake.set()

    def _read_loop(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except (SQLAlchemyError, OSError) as error:
                log.warning("watch.blind", error=type(error).__name__)
            except Exception:  # a bug must not leave the child unwatched
                log.exception("watch.failed")
            self._wake.wait(self._settings.watch)
            self._wake.clear()

    def _read(self) -> None:
        """Reads the jobs that this node holds, writes its sign of life, and decides about each job by its child.

        The child lives and runs this job: `_sight` checks the job's limits. The child lives and has begun another job since: `_release`. The
        child is dead: `_bury`. A process that lives but is not a child of this parent (of an earlier parent) is left alone: the end of its
        lease ends the attempt. Does nothing while the node's row belongs to another process. Raises SQLAlchemyError, OSError.
        """
        with self._sessions.begin() as session:
            worker = session.get(Worker, self._worker_id)
            if worker is not None:
                if not is_ours(worker):
                    return  # the jobs under this name are another node's, or a predecessor's until this node has registered
                worker.seen_at = func.now()
                worker.blocked = self._blocked()
            rows = session.execute(
                select(
                    Job,
                    func.extract("epoch", func.now() - Job.cancel_requested_at).label("cancelling_for"),
                    func.extract("epoch", func.now() - Job.progress_at).label("still_for"),
                    func.extract("epoch", func.now() - Job.started_at).label("running_for"),
                    (Job.lease_expires_at < func.now()).label("expired"),
                    func.extract("epoch", Job.lease_expires_at - func.pg_postmaster_start_time()).label("after_start"),
                ).where(Job.worker_id == self._worker_id, Job.state.in_(list(HELD)))
            ).all()
        self._read_at = time.monotonic()
        living = self._children()
        latest = {row.Job.child_pid: row.Job.id for row in sorted(rows, key=lambda row: row.Job.started_at)}
        for row in rows:
            if row.Job.child_pid in living and row.Job.id != latest[row.Job.child_pid]:
                self._release(row)
            elif row.Job.child_pid in living:
                self._sight(row)
            elif not _alive(row.Job.child_pid):
                self._bury(row.Job, renewed_before_start=float(row.after_start) < self._settings.ttl)
        if not rows:
            with self._lock:
                self._seen = self._exit_status = None  # a child that died now had no job

    def _sight(self, row: Holding) -> None:
        """Records for the enforcer when the job's lease was last seen renewed, and the first reason to stop the child (`_complaint`).

        Another attempt or another job replaces the record. A reason is kept once it is set: the child is stopped even if the job recovers.
        """
        job: Job = row.Job
        now = time.monotonic()
        with self._lock:
            seen = self._seen
            if seen is None or not seen.is_of(job):
                seen = Sighting(job.id, job.lease_token, job.child_pid or 0, job.lease_expires_at, now, bool(row.expired))
                self._seen = seen
            if job.lease_expires_at != seen.lease_expires_at:
                seen.lease_expires_at, seen.renewed_seen = job.lease_expires_at, now
            if seen.terminate_at is None and not seen.killed:
                seen.reason = self._complaint(job, row)
                seen.terminate_at = now if seen.reason else None

    def _complaint(self, job: Job, row: Holding) -> JsonObject:
        """The reason why the child must be stopped now; empty if there is none."""
        if row.cancelling_for is not None and row.cancelling_for > self._settings.cancel_grace:
            return {"code": "cancelled"}
        if row.running_for > job.max_seconds:
            limit = f"It ran longer than {job.max_seconds:.0f} s, the limit for one attempt of a job."
            return {"code": "time_limit", "detail": f"{limit} Finished parts are kept; request less and retry."}
        if row.still_for > job.stall_seconds:
            return {"code": "stalled", "phase": job.phase, "seconds": round(float(row.still_for), 1)}
        return {}

    def _may_still_hear(self, job: Job) -> bool:
        """Whether Celery's report of how the child died may still arrive, normally within moments; for a child of an earlier parent it never
        arrives."""
        if self._leaving:
            return False
        now = time.monotonic()
        if self._missed is None or self._missed[:2] != (job.id, job.lease_token):
            self._missed = (job.id, job.lease_token, now)
        return now - self._missed[2] < min(HEARSAY_SECONDS, self._settings.ttl / 4)

    def _enforce_loop(self) -> None:
        tick = min(0.5, self._settings.watch / 4)
        while not self._stop.wait(tick):
            with self._lock:
                if self._seen is not None:
                    self._enforce(self._seen, time.monotonic())

    def _enforce(self, seen: Sighting, now: float) -> None:
        """Sends the child the signals that are due; uses monotonic clocks alone, never the database. The caller holds the lock.

        SIGKILL at once if no renewal of the lease was seen for so long that the lease is about to end. SIGTERM if there is a reason to stop the
        child, or the grace period of a drain is over; SIGKILL if it still lives `kill_grace` seconds after that.
        """
        # A renewal is seen up to `watch` late; the kill must still come before the lease ends.
        limit = self._settings.ttl - self._settings.margin / 2 - min(self._settings.watch, self._settings.margin / 2)
        if now - seen.renewed_seen > limit and not seen.killed:
            # A parent that could not read either was disconnected from the database, and the child is not to blame.
            blind = seen.unseen_for_a_lease or now - self._read_at > min(limit / 2, 3 * self._settings.watch)
            seen.reason = seen.reason or {"code": "database_unreachable" if blind else "lease_not_renewed"}
            self._signal(seen, signal.SIGKILL)
            seen.killed = True
        if seen.terminate_at is None and self._drain_by is not None and now > self._drain_by:
            seen.reason, seen.terminate_at = {"code": "drained"}, now
        if seen.terminate_at is None:
            return
        if seen.signalled_at is None:
            self._signal(seen, signal.SIGTERM)
            seen.signalled_at = now
        elif now - seen.signalled_at > self._settings.kill_grace and not seen.killed:
            self._signal(seen, signal.SIGKILL)
            seen.killed = True

    def _signal(self, seen: Sighting, number: signal.Signals) -> None:
        if seen.pid in self._children():
            log.warning("child.signalled", job=seen.job_id, pid=seen.pid, signal=number.name, because=seen.reason.get("code"))
            with suppress(ProcessLookupError):  # it ended just now
                os.kill(seen.pid, number)
                seen.sent, self._struck = number, seen

    def _release(self, row: Holding) -> None:
        """Releases a job that the child has abandoned: it runs one job at a time and has begun another since. Killing it now would hit the other
        job.

        If the lease had ended before this node could read the row, an outage is the cause and the job is not charged.
        """

        def release(session: Session) -> None:
            fresh = endings.still_held(session, row.Job.id, row.Job.lease_token)
            if fresh is not None:
                endings.lose(session, fresh, {"code": "abandoned"}, max_losses=self._settings.max_losses, charged=not row.expired)
                log.warning("job.released", job=fresh.id, charged=not row.expired)

        in_transaction(self._sessions, release)

    def _bury(self, job: Job, *, renewed_before_start: bool) -> None:
        """Ends the attempt of a dead child now, instead of waiting for the lease to run out.

        The job is not charged when its lease dates from before the database's start, as after a restored backup, or when this node killed the
        child for another job that the child had finished and left for this one since the last check.
        """
        death = self._death_of(job)
        if death is None:
            return
        cause = death.cause(
            "drained" if self._drain_by is not None else "database_outage" if renewed_before_start else "worker_lost"
        )
        charged = death.meant_for is None and cause["code"] not in NOBODYS_FAULT

        def bury(session: Session) -> bool:
            fresh = endings.still_held(session, job.id, job.lease_token)
            if fresh is None:
                return False
            if cause["code"] == "time_limit":
                endings.fail(session, job.id, job.lease_token, as_error("time_limit", str(death.reason["detail"])))
            else:
                endings.lose(session, fresh, cause, max_losses=self._settings.max_losses, charged=charged)
            return True

        if in_transaction(self._sessions, bury):
            log.warning("child.buried", job=job.id, **cause)

    def _death_of(self, job: Job) -> Death | None:
        """How the job's child died; None while Celery's report may still arrive."""
        with self._lock:
            seen = self._seen if self._seen is not None and self._seen.is_of(job) else None
            struck = self._struck
            status, self._exit_status = self._exit_status or (None if seen is None else _sent(seen)), None
            if status is None and self._may_still_hear(job):
                return None
            self._seen = None
        mistaken = struck is not None and struck.pid == job.child_pid and not struck.is_of(job)
        return Death(
            {} if seen is None else dict(seen.reason), struck.job_id if mistaken and struck is not None else None, status
        )


def _sent(seen: Sighting) -> str | None:
    """How the child died, if this node killed it."""
    return None if seen.sent is None else f"signal {seen.sent.value} ({seen.sent.name})"


def _alive(pid: int | None) -> bool:
    """Whether a process on this machine has this pid: then it may still hold the device, and only its lease can end the attempt."""
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
