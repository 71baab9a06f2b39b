"""Runs one attempt of one job: claims it, keeps its lease, runs its handler, commits the outcome.

Commits exactly one ending, or none when the lease is lost.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.devices import repository as devices
from app.errors import as_error
from app.jobs import claims, endings, repository
from app.jobs.claims import Claimer, Lease, Reached
from app.jobs.transitions import Superseded
from app.jobs.turns import Locked
from app.retrying import retried
from app.storage.base import StorageError
from app.storage.blobs import Blob, stage, staging_again
from app.storage.space import shortage
from terms.documents.jobs import ErrorFacts
from terms.values import JsonObject
from workers.context import ServiceContext
from workers.faults import Verdict, judge
from workers.handlers import handler_for
from workers.heartbeat import Heartbeat
from workers.job import JobCancelled, JobYielded, LeaseLost, Outcome, TransientFault
from workers.measure import PeakMemory
from workers.outages import is_outage, through_outages, through_storage_errors
from workers.process import WorkerProcess

MAX_DEFERRALS = 8
PASS_ON_SECONDS = 0.2
OUTAGE_PAUSES = (0.05, 0.5, 2.0)
"""Pauses in seconds between attempts to claim a job while the database is unavailable."""
LOCKED_PAUSES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Pauses in seconds between attempts to claim a locked job. A transaction that puts a job behind another locks
that job's row for milliseconds."""

Ending = Callable[[Session, Reached], None]

log = structlog.get_logger(__name__)


def run_next(process: WorkerProcess) -> bool:
    """Claims and runs the next job of this worker's class; False when none was ready. Sends another notification when more jobs are ready."""
    try:
        asked, lease = _claim(process)
    except MayNotClaim as why:
        log.info("claim.not_now", because=str(why))
        time.sleep(PASS_ON_SECONDS)  # while this child sleeps its node takes no more notifications, so others get them
        ring_on(process)
        return False
    if lease is None:
        return False
    ring_on(process)
    structlog.contextvars.bind_contextvars(job=lease.job.id, attempt=lease.job.attempt, request=lease.job.request_id)
    try:
        Attempt(process, lease, asked).run()
    finally:
        structlog.contextvars.clear_contextvars()
    if not process.described():
        with contextlib.suppress(SQLAlchemyError), process.sessions.begin() as session:
            process.describe(session)
    return True


class MayNotClaim(Exception):
    """The device is held, or the disk is nearly full."""


def _claim(process: WorkerProcess) -> tuple[float, Lease | None]:
    """Returns the monotonic time of the request and the claimed job's lease; None in place of the lease if no job could be claimed.

    Retries after a short failure of the database, and while all jobs are locked, because the notification is used up. Jobs that stay locked
    wait for the reconciler's next notification. Raises MayNotClaim, and SQLAlchemyError if the database stays unavailable.
    """
    short = shortage(process.settings)
    if short is not None:
        raise MayNotClaim(short["detail"])
    claimer = Claimer(
        process.worker_id, process.job_class, os.getpid(), process.versions, process.loaded(), process.generations.goes_first()
    )
    outages, locked = iter(OUTAGE_PAUSES), iter(LOCKED_PAUSES)

    def claim() -> tuple[float, Lease | None]:
        asked = time.monotonic()
        with process.sessions.begin() as session:
            held = devices.mode_for_claiming(session, process.worker_id)
            if held is not None:
                raise MayNotClaim(f"the device is {held}")
            lease = claims.claim(session, claimer, ttl=process.settings.lease.ttl, slice_seconds=process.settings.lease.slice)
        return asked, lease

    def after_outage(error: SQLAlchemyError) -> float | None:
        if not is_outage(error) or (pause := next(outages, None)) is None:
            return None
        log.warning("claim.retry", error=type(error).__name__)
        return pause

    try:
        return retried(lambda: retried(claim, Locked, lambda _: next(locked, None)), SQLAlchemyError, after_outage)
    except Locked:
        return time.monotonic(), None


def ring_on(process: WorkerProcess) -> None:
    """Sends another notification, if another idle worker could use it."""
    silent = 3 * process.settings.lease.ttl
    try:
        with process.reads() as session:
            wanted = repository.bells_wanted(session, process.job_class, silent_after=silent)
    except SQLAlchemyError:
        return  # the reconciler will send it
    if wanted:
        process.bell.ring(process.job_class, wanted)


class Attempt:
    """The life of one claimed job in this child."""

    def __init__(self, process: WorkerProcess, lease: Lease, claimed_at: float) -> None:
        self._process = process
        self._lease = lease
        self._job_id = lease.job.id
        self._began = claimed_at
        self._heartbeat = Heartbeat(process, lease, claimed_at)
        self._memory = PeakMemory(process.settings.device)

    def run(self) -> None:
        """Runs the handler and commits its ending. An exception that escapes is a signal to this process, never a failure of the job."""
        log.info("job.started", kind=self._lease.job.kind)
        with self._heartbeat:
            must_exit = self._run()
        seconds = time.monotonic() - self._began
        self._process.generations.ran(short=self._lease.job.short, seconds=seconds)
        log.info("job.left", seconds=round(seconds, 3), lease_lost=self._heartbeat.lost)
        if must_exit:
            os._exit(70)  # EX_SOFTWARE of sysexits.h: the device's context is lost; the parent spawns a new child

    def _run(self) -> bool:
        """Runs the handler and commits the ending that its result or exception calls for; returns whether this process must exit.

        A lost lease commits nothing, because another worker may hold the job now.
        """
        try:
            outcome = self._handle()
            self._succeed(outcome)
        except LeaseLost:
            log.warning("job.lease_lost")
        except JobCancelled:
            self._end(self._cancelled)
        except JobYielded as why:
            reason = str(why) or "yielded"
            self._end(lambda session, reached: self._requeue(session, reached, reason, {}))
        except (TransientFault, StorageError) as error:
            self._defer(error)
        except Exception as error:
            return self._fail(error)
        return False

    def _handle(self) -> Outcome:
        """Returns the result of the kind's handler. Raises what the handler raises, and ModelFault hooks_left if it left hooks on a model."""
        context = ServiceContext(self._process, self._lease, self._heartbeat)
        try:
            with context:
                context.check()
                return handler_for(self._lease.job.kind)(self._lease.job.spec, context)
        finally:
            if self._process.shelf is not None:
                self._process.shelf.after_job()

    def _succeed(self, outcome: Outcome) -> None:
        """Stores the result's files and commits the success; stages once more if a staged file was collected before the commit."""
        staging_again(lambda: self._stage_and_succeed(outcome))

    def _stage_and_succeed(self, outcome: Outcome) -> None:
        staged = [(file.name, file.media_type, self._stage(file.data)) for file in outcome.artifacts]
        metrics = self._metrics(outcome.metrics)
        if self._heartbeat.lost:
            raise LeaseLost
        self._end(lambda session, reached: self._commit(session, reached, outcome, staged, metrics))

    def _commit(
        self,
        session: Session,
        reached: Reached,
        outcome: Outcome,
        staged: list[tuple[str, str, Blob]],
        metrics: Mapping[str, float],
    ) -> None:
        endings.succeed(session, self._job_id, self._lease.token, dict(outcome.result), staged, metrics=metrics, reached=reached)

    def _cancelled(self, session: Session, reached: Reached) -> None:
        endings.cancelled(session, self._job_id, self._lease.token, metrics=self._metrics(), reached=reached)

    def _stage(self, data: bytes | Path) -> Blob:
        return through_storage_errors(
            lambda: stage(self._process.sessions, self._process.storage, data), lambda: self._heartbeat.lost
        )

    def _defer(self, error: Exception) -> None:
        """Returns the job to the queue with growing delays, because an external service is down. The job fails if the service stays down and no
        cell is finished in the meantime."""

        def ending(session: Session, reached: Reached) -> None:
            before = repository.deferrals(session, self._job_id)
            if before >= MAX_DEFERRALS:
                detail = f"Postponed {before} times: {error}. Finished parts are kept. Retry once the cause is repaired."
                self._failed(session, reached, as_error("unavailable", detail))
            else:
                self._requeue(session, reached, "deferred", {"because": str(error)}, delay=min(300.0, 5.0 * 2**before))

        self._end(ending)

    def _requeue(self, session: Session, reached: Reached, event: str, reason: JsonObject, delay: float = 0) -> None:
        endings.requeue(
            session, self._job_id, self._lease.token, event, reason, delay=delay, metrics=self._metrics(), reached=reached
        )

    def _failed(self, session: Session, reached: Reached, error: ErrorFacts) -> None:
        endings.fail(session, self._job_id, self._lease.token, error, metrics=self._metrics(), reached=reached)

    def _fail(self, error: Exception) -> bool:
        """Commits the failure that `judge` makes of the error; returns whether this process must exit, because its device is unusable."""
        verdict: Verdict = judge(error)
        # 30 is logging.WARNING, whatever the cause; only a bug or a fault of the device has its traceback
        log.log(30, "job.failed", code=verdict.error["code"], exc_info=error if verdict.unexpected else None)
        self._end(lambda session, reached: self._failed(session, reached, verdict.error))
        return verdict.must_exit

    def _end(self, ending: Ending) -> None:
        """Commits an ending and the unwritten progress. Retries during database outages as long as this process holds the lease."""
        try:
            through_outages(lambda: self._commit_ending(ending), lambda: self._heartbeat.lost)
        except Superseded as lost:
            self._superseded(lost)
        except LeaseLost:
            log.warning("job.abandoned")

    def _commit_ending(self, ending: Ending) -> None:
        with self._heartbeat.unwritten() as reached, self._process.sessions.begin() as session:
            ending(session, reached)

    def _superseded(self, lost: Superseded) -> None:
        """Handles a rejected ending: either the lease is lost, or cancellation was requested during a yield, and then the job is cancelled."""
        try:
            through_outages(lambda: self._commit_ending(self._cancelled), lambda: self._heartbeat.lost)
        except (Superseded, LeaseLost):
            log.warning("job.superseded", why=str(lost))

    def _metrics(self, more: Mapping[str, float] | None = None) -> dict[str, float]:
        return {"device_seconds": time.monotonic() - self._began, "peak_bytes": self._memory.peak(), **(more or {})}
