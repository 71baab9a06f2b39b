"""Repairs expired leases, jobs without a notified worker and unproved models; moves changes of usage and of counters into their sums;
removes old idempotency keys, webhook deliveries and silent workers.

Every worker's parent runs a reconciler; an advisory lock allows one sweep at a time. It expires no lease until one TTL after the database's
start and after its own reconnect (workers renew first), nor when the database's clock has run ahead of its own monotonic clock by more than half
a TTL (the clock was set, or the machine slept): an outage must not look like a hundred dead workers. A live lease has more than half a TTL left,
since renewals come every third of it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, sessionmaker

from app import tallies
from app.bell import CLASSES, Bell
from app.db import in_transaction
from app.devices.models import Worker
from app.jobs import endings, repository
from app.jobs.models import IdempotencyKey, Job
from app.jobs.states import State
from app.models.proving import prove_when_idle
from app.moments import ago
from app.quotas import usage_repository as usage
from app.settings import LeaseSettings
from app.webhooks import repository as webhooks
from terms.values import JsonObject
from workers.lm.proofs.content import programs

SWEEP_LOCK = 0x53574545  # "SWEE"
KEY_DAYS = 7
DELIVERY_DAYS = 30
FORGET_WORKER_AFTER = 24 * 3600

log = structlog.get_logger(__name__)


@dataclass
class Clock:
    """Compares the database's clock with this process's clock, to notice jumps."""

    database: float
    own: float

    def ran_ahead(self, database: float, own: float) -> float:
        """The seconds by which the database's clock advanced more than ours since this reading."""
        return (database - self.database) - (own - self.own)


@dataclass(frozen=True)
class Expired:
    """A lease that has run out. `outage`: the database was unavailable meanwhile."""

    job_id: str
    token: int
    outage: bool


class Reconciler:
    """Repairs jobs: call `sweep()` every `lease.sweep` seconds, and `disconnected()` whenever that failed."""

    def __init__(self, sessions: sessionmaker[Session], bell: Bell, settings: LeaseSettings) -> None:
        self._sessions = sessions
        self._bell = bell
        self._settings = settings
        self._clock: Clock | None = None
        self._quiet_until = 0.0

    def disconnected(self) -> None:
        """Records that the database did not answer: after its return, workers first get a TTL to renew their leases."""
        self._clock = None

    def sweep(self) -> int:
        """Does every repair once. Returns the number of leases that were expired. Raises SQLAlchemyError when the database is unavailable."""
        with self._sessions.begin() as session:
            if not session.scalar(select(func.pg_try_advisory_xact_lock(SWEEP_LOCK))):
                return 0
            leases = self._expired(session) if self._may_expire(session) else []
            self._forget(session)
            # the changes that requests and triggers wrote as rows, into the sums that are read
            usage.add_up(session)
            tallies.add_up(session)
        # Each in its own transaction, after this one: in one transaction they would hold some jobs and wait for others (app/jobs/README.md).
        expired = sum(in_transaction(self._sessions, self._expire, lease) for lease in leases)
        for job_class in CLASSES:
            self._ring(job_class)
        in_transaction(self._sessions, self._prove)
        return expired

    def _may_expire(self, session: Session) -> bool:
        row = session.execute(
            select(
                func.extract("epoch", func.clock_timestamp()), func.extract("epoch", func.now() - func.pg_postmaster_start_time())
            )
        ).one()
        database, up_for, own = float(row[0]), float(row[1]), time.monotonic()
        known = self._clock
        if known is None or known.ran_ahead(database, own) > self._settings.ttl / 2:
            self._quiet_until = own + self._settings.ttl
            log.info(
                "reconciler.quiet",
                seconds=self._settings.ttl,
                because="connected" if known is None else "the database's clock jumped",
            )
        self._clock = Clock(database, own)
        return own >= self._quiet_until and up_for >= self._settings.ttl

    def _expired(self, session: Session) -> Sequence[Expired]:
        """Every held job with an expired lease; losses during an outage of the database are not charged."""
        held = Job.state.in_([State.RUNNING, State.CANCELLING])
        after_start = func.extract("epoch", Job.lease_expires_at - func.pg_postmaster_start_time())
        rows = session.execute(select(Job.id, Job.lease_token, after_start).where(held, Job.lease_expires_at < func.now()))
        return [Expired(job, token, outage=float(after) < self._settings.ttl) for job, token, after in rows]

    def _expire(self, session: Session, lease: Expired) -> bool:
        """Returns the job to the queue, or fails it as poison, unless it ended or was renewed meanwhile. Returns whether the lease was
        expired."""
        job = endings.still_held(session, lease.job_id, lease.token)
        if job is None or not session.scalar(select(Job.lease_expires_at < func.now()).where(Job.id == job.id)):
            return False
        cause: JsonObject = {"code": "database_outage" if lease.outage else "lease_expired"}
        log.warning("lease.expired", job=job.id, worker=job.worker_id, charged=not lease.outage)
        endings.lose(session, job, cause, max_losses=self._settings.max_losses, charged=not lease.outage)
        return True

    def _prove(self, session: Session) -> None:
        """Submits the proof of models that were never proved with these programs, to run when a device is idle."""
        if session.scalar(select(func.pg_try_advisory_xact_lock(SWEEP_LOCK))):
            prove_when_idle(session, programs(), self._settings.idle)

    def _forget(self, session: Session) -> None:
        old = IdempotencyKey.created_at < ago(days=KEY_DAYS)
        session.execute(delete(IdempotencyKey).where(old).execution_options(synchronize_session=False))
        webhooks.forget(session, days=DELIVERY_DAYS)
        silent = Worker.seen_at < ago(seconds=FORGET_WORKER_AFTER)
        session.execute(delete(Worker).where(silent).execution_options(synchronize_session=False))

    def _ring(self, job_class: str) -> None:
        """Notifies workers again about jobs after a notification was lost or reached a worker too old for the job; at most once per idle
        worker."""
        with self._sessions() as session:
            wanted = repository.bells_wanted(session, job_class, silent_after=3 * self._settings.ttl, everybody=True)
        if wanted:
            self._bell.ring(job_class, wanted)
