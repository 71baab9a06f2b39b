"""The handler's context in the service: reports progress through the heartbeat, stores cells as blobs, takes models from the shelf."""

import contextlib
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.jobs import repository, turns
from app.jobs.claims import Lease
from app.jobs.endings import keep_cells
from app.jobs.models import Job
from app.jobs.specs import model_spec
from app.jobs.transitions import Superseded
from app.models import repository as models
from app.storage.base import ObjectMissing, key_of
from app.storage.blobs import stage_all, staging_again
from terms.documents.jobs import JobStanding
from terms.documents.model import SourcedFacts
from terms.documents.passport import PassportDocument
from workers.heartbeat import Heartbeat, Phase
from workers.job import COMPUTED_WITH, SHARED, THREADS, JobCancelled, JobFault, JobYielded, LeaseLost
from workers.outages import through_outages, through_storage_errors
from workers.process import WorkerProcess
from workers.steering.retries import may_take

if TYPE_CHECKING:
    from workers.lm.model import LanguageModel


class ServiceContext:
    """Implements `workers.job.JobContext` for one attempt at one job. Leaving the context commits the finished cells, unless the lease is
    lost."""

    def __init__(self, process: WorkerProcess, lease: Lease, heartbeat: Heartbeat) -> None:
        self._process = process
        self._lease = lease
        self._heartbeat = heartbeat
        self._began = time.monotonic()
        self._done_share = 0.0
        self._share = 0.0
        self._finished: dict[str, bytes] = {}
        self._threads: int | None = None
        self._apart: str | None = None
        self._how: dict[str, bytes] = {}
        self._kept_at = self._began
        self._keeping = threading.RLock()

    def __enter__(self) -> "ServiceContext":
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        if isinstance(error, LeaseLost):
            return
        with contextlib.suppress(*(() if error is None else (Exception,))):  # the error that ended the handler has priority
            self._keep_finished()

    @property
    def device(self) -> str:
        return self._process.settings.device

    @property
    def dtype(self) -> str:
        return self._process.settings.weights_dtype

    @property
    def batch_budget_bytes(self) -> int:
        return self._process.settings.batch_budget_bytes

    def model(self, name: str) -> "LanguageModel":
        shelf = self._process.models()
        if name not in shelf.names():
            self.phase("loading model", 1, "models", stall_seconds=max(600, self._process.settings.lease.stall))
        if self.device == "cpu" and self._threads is None:
            self._threads = int(self._threads_to_use(shelf.threads))
            shelf.compute_with(self._threads)
        return through_outages(lambda: shelf.take(name, unproven=self._proves), lambda: self._heartbeat.lost)

    def model_facts(self, name: str) -> SourcedFacts:
        shelf = self._process.models()
        return through_outages(lambda: shelf.facts(name, unproven=self._proves), lambda: self._heartbeat.lost)

    def model_passport(self, name: str, weight_hash: str) -> PassportDocument | None:
        shelf = self._process.models()
        return through_outages(lambda: shelf.passport(name, weight_hash), lambda: self._heartbeat.lost)

    def passport(self, key: str) -> PassportDocument | None:
        return through_outages(lambda: self._passport(key), lambda: self._heartbeat.lost)

    def blob(self, digest: str) -> bytes:
        try:
            return self._read(digest)
        except ObjectMissing as error:
            raise JobFault(
                "missing_input", f"The stored object {digest[:12]} that this job reads has been deleted. Submit the job again."
            ) from error

    def artifact(self, job: str, name: str) -> bytes:
        digest = through_outages(lambda: self._artifact_digest(job, name), lambda: self._heartbeat.lost)
        if digest is None:
            raise JobFault(
                "missing_input", f"Job {job} left no {name}, which this job reads. Retry that job, then submit this one again."
            )
        return self.blob(digest)

    def result(self, job: str) -> JobStanding:
        return through_outages(lambda: self._result(job), lambda: self._heartbeat.lost)

    def phase(
        self,
        name: str,
        total: int,
        unit: str,
        *,
        stall_seconds: float | None = None,
        share: float | None = None,
        after: float | None = None,
    ) -> None:
        self._done_share += self._share
        left = max(1e-3, 1 - self._done_share)
        limit = self._lease.job.stall_seconds if stall_seconds is None else stall_seconds
        self._share = 0.0 if share is None else share
        phase = Phase(name, total, unit, limit, left if share is None else share, self._done_share, time.monotonic(), after=after)
        self._heartbeat.begin(phase)
        self.check()

    def progress(self, done: int) -> None:
        self._heartbeat.move(done)
        self.check()

    def check(self) -> None:
        self._check_lease()
        if self._finished and time.monotonic() - self._kept_at >= self._process.settings.lease.at_risk:
            self._keep_finished()
        if self._process.draining.is_set():
            raise JobYielded("drained")

    def may_yield(self) -> None:
        self.check()
        if self._process.keeper.mode == "draining":
            raise JobYielded("drained")
        ran = time.monotonic() - self._began
        lease, shelf = self._process.settings.lease, self._process.shelf
        loads = 5 * (shelf.slowest_load if shelf is not None else 0)
        if ran < max(min(lease.slice, lease.short_slice), loads):
            return
        try:
            with self._process.reads() as session:
                waiting = turns.waiting(session, self._lease.job, self._process.versions)
        except SQLAlchemyError:
            return  # during an outage the job keeps the device
        generation_waits = waiting.short and not self._lease.job.short and self._process.generations.goes_first(ran)
        if generation_waits or (waiting.others and ran >= max(lease.slice, loads)):
            raise JobYielded("yielded")

    def cell(self, name: str) -> bytes | None:
        place = self._place(name)
        with self._keeping:
            if place in self._finished:
                return self._finished[place]
        digest = through_outages(lambda: self._own_digest(name, place), lambda: self._heartbeat.lost)
        return None if digest is None else self._read_kept(digest)

    def shared_cell(self, name: str) -> bytes | None:
        own = self.cell(name)
        digest = through_outages(lambda: self._shared_digest(name), lambda: self._heartbeat.lost) if own is None else None
        if digest is None:
            return own
        try:
            data = self._read_kept(digest)
        except ObjectMissing:  # the last job with this cell was deleted meanwhile
            return None
        self.commit_cell(name, data)
        return data

    def commit_cell(self, name: str, data: bytes) -> None:
        self._check_lease()  # not `check`: a node that is stopping still stores finished cells
        place = self._place(name)
        with self._keeping:
            self._finished |= {place: data, **self._how}
            self._how = {}
            if time.monotonic() - self._kept_at >= self._process.settings.lease.at_risk:
                self._keep_finished()
        self._heartbeat.move(None)

    def _place(self, name: str) -> str:
        """The name under which this worker keeps a cell.

        A worker of another kind of device or dtype than that of the job's first cells keeps its own beside them, under names that begin with
        its kind. So a result never mixes two kinds, and neither loses what it has finished. The name of a shared cell holds both already.
        """
        if name.startswith(SHARED) or self._lease.job.job_class != "model":
            return name
        if self._apart is None:
            self._apart = self._compare_kinds()
        return f"{self._apart}{name}"

    def _compare_kinds(self) -> str:
        """Returns the prefix of the names of this worker's cells, empty if it is of the kind of the job's first cells. Each job keeps that kind
        itself, because the job that it retries may be deleted."""
        own = f"{self.device.partition(':')[0]} {self.dtype}"
        first = (self._earlier(COMPUTED_WITH, COMPUTED_WITH) or own.encode()).decode()
        self._how[COMPUTED_WITH] = first.encode()
        if first == own:
            return ""
        prefix = f"{own}/"
        marker = f"{prefix}{COMPUTED_WITH}"
        if self._earlier(COMPUTED_WITH, marker) is None:
            self._heartbeat.tell(("computed_apart", {"finished_parts": first, "this_worker": own}))
        self._how[marker] = own.encode()
        return prefix

    def _threads_to_use(self, usual: int) -> bytes:
        """The number of threads with which an earlier attempt, or the job that this one retries, made its cells; otherwise `usual`."""
        place = self._place(THREADS)
        self._how[place] = threads = self._earlier(THREADS, place) or str(usual).encode()
        return threads

    def _earlier(self, name: str, place: str) -> bytes | None:
        """The cell `name`, kept as `place`, of an earlier attempt or of a job that this one retries; None without either."""
        if self._lease.job.attempt == 1 and self._lease.job.retry_of is None:
            return None
        digest = through_outages(lambda: self._own_digest(name, place), lambda: self._heartbeat.lost)
        return None if digest is None else self._read(digest)

    def _keep_finished(self) -> None:
        """Commits the cells finished since the last commit, in one transaction."""
        with self._keeping:
            if self._finished:
                try:
                    through_storage_errors(self._keep, lambda: self._heartbeat.lost)
                except Superseded as lost:
                    raise LeaseLost from lost
                self._finished.clear()
            self._kept_at = time.monotonic()

    def _check_lease(self) -> None:
        if self._heartbeat.lost:
            raise LeaseLost
        if self._heartbeat.cancelled:
            raise JobCancelled

    @property
    def _proves(self) -> bool:
        """Whether this job proves its model, and so uses the model before it is usable for others."""
        return self._lease.job.kind == "prove"

    def _passport(self, key: str) -> PassportDocument | None:
        with self._process.reads() as session:
            row = models.passport(session, key)
            return None if row is None else row.passport

    def _own_digest(self, cell: str, place: str) -> str | None:
        with self._process.reads() as session:
            return _cell_digest(session, self._lease.job, cell, place)

    def _shared_digest(self, cell: str) -> str | None:
        with self._process.reads() as session:
            return repository.shared_cell_digest(session, cell, self._lease.job.owner)

    def _read(self, digest: str) -> bytes:
        return through_storage_errors(lambda: self._process.storage.get(key_of(digest)), lambda: self._heartbeat.lost)

    def _read_kept(self, digest: str) -> bytes:
        self._heartbeat.kept()
        return self._read(digest)

    def _artifact_digest(self, job: str, name: str) -> str | None:
        with self._process.reads() as session:
            artifact = repository.artifact(session, job, name)
            return None if artifact is None else artifact.digest

    def _result(self, job: str) -> JobStanding:
        with self._process.reads() as session:
            row = session.get(Job, job)
            if row is None:
                raise JobFault("missing_input", f"This job reads the result of {job}, which does not exist.")
            return {"state": str(row.state), "kind": row.kind, "spec": row.spec, "result": row.result, "error": row.error}

    def _keep(self) -> None:
        self._heartbeat.hear(staging_again(self._keep_once))

    def _keep_once(self) -> Job:
        blobs = stage_all(self._process.sessions, self._process.storage, list(self._finished.values()))
        cells = dict(zip(self._finished, blobs, strict=True))
        # the phase to which the cells belong comes first in the history
        with self._heartbeat.unwritten() as reached, self._process.sessions.begin() as session:
            return keep_cells(session, self._lease.job.id, self._lease.token, cells, reached)


def _cell_digest(session: Session, job: Job, name: str, place: str) -> str | None:
    """The digest of the cell `name`, kept under the name `place`, of this job, or of a job that it retries, if it may reuse that job's cell.

    Texts generated by a model are reused only where both jobs are known to read texts into the same ids.
    """
    digest = repository.cell_digest(session, job.id, place)
    first = job
    while digest is None and first.retry_of is not None:
        retried = session.get(Job, first.retry_of)
        if retried is None:  # deleted
            return None
        first = retried
        if not _read_alike(first, job):
            return None
        if may_take(name, earlier=first.spec, spec=job.spec):
            digest = repository.cell_digest(session, first.id, place)
    return digest


def _read_alike(first: Job, job: Job) -> bool:
    """Whether both jobs, if they use a model, name the same hash of how it reads texts; jobs of other kinds name none."""
    spec, earlier = model_spec(job), model_spec(first)
    if spec is None:
        return True
    reading = spec.get("reading_hash")
    return reading is not None and earlier is not None and reading == earlier.get("reading_hash")
