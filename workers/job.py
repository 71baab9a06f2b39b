"""What a handler is: a function of a spec and a context that returns a result. It speaks no SQL and no HTTP.

    def run(spec: CalibrationSpec, context: JobContext) -> Outcome

`terms.specs` says what the spec of each kind holds. The context is how a handler tells progress, keeps cells, hears of cancellation and gets its
model. `check()` (and `progress()`, which calls it) raises one of the `Interruption`s below; a handler lets them pass, after leaving the model
without hooks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from terms.documents.jobs import JobStanding
from terms.documents.passport import PassportDocument
from terms.values import Json, JsonObject

if TYPE_CHECKING:
    from workers.lm.model import LanguageModel


class Interruption(BaseException):
    """The job must stop here; not an Exception, so that no handler swallows it by accident."""


class JobCancelled(Interruption):
    """Its owner asked for it; finished cells are kept."""


class LeaseLost(Interruption):
    """Another worker may hold the job now: stop and write nothing."""


class JobYielded(Interruption):
    """Its slice is over and somebody else waits: back to the queue, finished cells are kept."""


class JobFault(Exception):
    """A deterministic failure: `code`, a sentence that says what to do, and the facts. The job fails at once."""

    def __init__(self, code: str, detail: str, **facts: Json) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.facts = facts


class TransientFault(Exception):
    """Something outside is down (storage, a judge): the job goes back to the queue with a backoff."""


@dataclass(frozen=True)
class ArtifactBytes:
    """A file of the result, by name."""

    name: str
    data: bytes | Path
    media_type: str


@dataclass
class Outcome:
    """What a handler returns: a small JSON result (it is put on the Job) and files."""

    result: Mapping[str, Any]
    artifacts: list[ArtifactBytes] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)


class JobContext(Protocol):
    """The handler's only way to the world."""

    @property
    def device(self) -> str:
        """The torch device of this worker."""

    @property
    def dtype(self) -> str:
        """The type in which this worker loads models: "float32", "bfloat16" or "float16"."""

    @property
    def batch_budget_bytes(self) -> int:
        """Memory that one batch's cache and activations may take."""

    def model(self, name: str) -> "LanguageModel":
        """The registered model, loaded on this worker's device (kept loaded between jobs). Tells phase `loading model`.

        Raises JobFault when the files changed since they were inspected or do not load.
        """

    def model_facts(self, name: str) -> JsonObject:
        """What inspecting the model found (hashes, layers, width, source), without loading it."""

    def model_passport(self, name: str) -> PassportDocument | None:
        """The outcome of the registered model's proofs and each proof; None for a model that is not there or not proved."""

    def passport(self, key: str) -> PassportDocument | None:
        """The proofs that are kept for a content (`proofs.content.key_of`), or None."""

    def blob(self, digest: str) -> bytes:
        """A stored object that the spec names by its sha256: a trait dataset, a file of vectors. Raises JobFault missing_input."""

    def artifact(self, job: str, name: str) -> bytes:
        """A file of an earlier job's result, named in the spec. Raises JobFault missing_input."""

    def result(self, job: str) -> JobStanding:
        """An earlier job as it stands: `{"state", "kind", "spec", "result", "error"}`. Raises JobFault missing_input."""

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
        """A new phase begins at 0 of `total`. It is hung when it makes no progress for `stall_seconds`.

        `share` is the part of the whole job's work that lies in it (for the estimated end); None means all that is left. `after` is what the
        phases after it will take in seconds, where the handler has measured it: it counts instead of what `share` leaves.
        """

    def progress(self, done: int) -> None:
        """`done` of the phase's total is reached; cheap, call it per batch or step. Calls `check()`."""

    def check(self) -> None:
        """Raises JobCancelled, LeaseLost or JobYielded when the job must stop here. Cheap."""

    def may_yield(self) -> None:
        """A cell or batch boundary: raises JobYielded when the slice is over and somebody else waits, sooner for a generation, and at once
        when the device is drained. Calls `check()`.
        """

    def cell(self, name: str) -> bytes | None:
        """The bytes of a cell finished earlier (also by an earlier attempt), or None."""

    def shared_cell(self, name: str) -> bytes | None:
        """As `cell`, also of any job that this job's owner may read, whose cell it then keeps as its own. For cells with names that hold a hash
        of everything they are made from."""

    def commit_cell(self, name: str, data: bytes) -> None:
        """Keeps a finished cell for good. It resets the count of losses."""


Handler = Callable[[JsonObject, JobContext], Outcome]
