"""The interface of a handler: a function of a spec and a context that returns a result, without SQL or HTTP.

    def run(spec: CalibrationSpec, context: JobContext) -> Outcome

`terms.specs` defines the spec of each kind. Through the context a handler reports progress, stores cells, notices cancellation and gets its
model. `check()` (and `progress()`, which calls it) raises one of the `Interruption`s below; a handler lets them pass, after removing its hooks
from the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from terms.documents.jobs import JobStanding
from terms.documents.model import SourcedFacts
from terms.documents.passport import PassportDocument
from terms.values import Json, JsonObject

if TYPE_CHECKING:
    from workers.lm.model import LanguageModel


SHARED = "judge:"
"""Prefix of the names of cells that other jobs may take (`shared_cell`); a hash of all their inputs follows."""
COMPUTED_WITH, THREADS = HOW_COMPUTED = ("computed_with", "threads")
"""Names of the cells that hold the kind of device and the dtype with which a job began, and the number of threads. Sums depend on all three."""


class Interruption(BaseException):
    """The job must stop here. Not an Exception, so that a handler does not catch it by accident."""


class JobCancelled(Interruption):
    """The job's owner cancelled it; finished cells are kept."""


class LeaseLost(Interruption):
    """Another worker may hold the job now: stop and write nothing."""


class JobYielded(Interruption):
    """The job's time slice has ended and another job waits: it returns to the queue, finished cells are kept."""


class JobFault(Exception):
    """A deterministic failure: `code`, a sentence that says what to do, and the facts. The job fails at once."""

    def __init__(self, code: str, detail: str, **facts: Json) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.facts = facts


class TransientFault(Exception):
    """An external service is down (storage, a judge): the job returns to the queue with a backoff."""


@dataclass(frozen=True)
class ArtifactBytes:
    """A named file of the result."""

    name: str
    data: bytes | Path
    media_type: str


@dataclass
class Outcome:
    """The result of a handler: a small JSON result (stored with the job) and files."""

    result: Mapping[str, Any]
    artifacts: list[ArtifactBytes] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)


class JobContext(Protocol):
    """The handler's only access to models, storage and the job's state."""

    @property
    def device(self) -> str:
        """The torch device of this worker."""

    @property
    def dtype(self) -> str:
        """The dtype in which this worker loads models: "float32", "bfloat16" or "float16"."""

    @property
    def batch_budget_bytes(self) -> int:
        """Memory that one batch's cache and activations may take."""

    def model(self, name: str) -> "LanguageModel":
        """The registered model, loaded on this worker's device (kept loaded between jobs). Reports the phase `loading model`.

        Raises JobFault when the files changed since they were inspected or do not load.
        """

    def model_facts(self, name: str) -> SourcedFacts:
        """The model's facts from inspection (hashes, layers, width, source), without loading it."""

    def model_passport(self, name: str, weight_hash: str) -> PassportDocument | None:
        """The outcome of the registered model's proofs and each proof; None for a model that is missing, not proved or has other weights."""

    def passport(self, key: str) -> PassportDocument | None:
        """The stored proofs for a content (`proofs.content.key_of`), or None."""

    def blob(self, digest: str) -> bytes:
        """A stored object that the spec names by its sha256: a trait dataset, a file of vectors. Raises JobFault missing_input."""

    def artifact(self, job: str, name: str) -> bytes:
        """A file of an earlier job's result, named in the spec. Raises JobFault missing_input."""

    def result(self, job: str) -> JobStanding:
        """The current state of an earlier job: `{"state", "kind", "spec", "result", "error"}`. Raises JobFault missing_input."""

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
        """Begins a new phase at 0 of `total`. It counts as hung when it makes no progress for `stall_seconds`.

        `share` is the part of the whole job's work in this phase (for the estimated end); None means the rest. `after` is the time of the later
        phases in seconds, if the handler has measured it; it replaces the estimate from `share`.
        """

    def progress(self, done: int) -> None:
        """Reports that `done` of the phase's total is reached; cheap, call it per batch or step. Calls `check()`."""

    def check(self) -> None:
        """Raises JobCancelled, LeaseLost or JobYielded when the job must stop here. Cheap."""

    def may_yield(self) -> None:
        """Call at the boundary of a cell or batch: raises JobYielded when the slice has ended and another job waits (earlier if a generation
        waits), and at once when the device is drained. Calls `check()`."""

    def cell(self, name: str) -> bytes | None:
        """The bytes of a cell that this or an earlier attempt finished, or None."""

    def shared_cell(self, name: str) -> bytes | None:
        """Like `cell`, but also takes the cell from any job that this job's owner may read, and stores it for this job. Only for cells with
        names that hold a hash of all their inputs."""

    def commit_cell(self, name: str, data: bytes) -> None:
        """Stores a finished cell permanently. Resets the count of losses."""


Handler = Callable[[JsonObject, JobContext], Outcome]
