"""What differs between kinds of job on the service's side. A new kind adds one line here, a `kind.py` in its package and a handler."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.auth.sharing import Sharing
from app.auth.viewer import Viewer
from app.jobs.models import Job
from app.jobs.submission import Idempotency, Submitted
from terms.documents.jobs import ErrorFacts
from terms.values import JsonObject

KINDS = {
    "calibrate": "app.calibrations.kind:CALIBRATE",
    "download": "app.models.kind:DOWNLOAD",
    "export": "app.exports.kind:EXPORT",
    "extract": "app.extractions.kind:EXTRACT",
    "generate": "app.generations.kind:GENERATE",
    "inspect": "app.models.kind:INSPECT",
    "prove": "app.models.kind:PROVE",
    "report": "app.studies.kind:REPORT",
    "rescore": "app.steerings.kind:RESCORE",
    "steer": "app.steerings.kind:STEER",
}


Usable = tuple[InstrumentedAttribute[str], Callable[[Viewer], ColumnElement[bool]]]
"""The column that holds ids of one prefix, and the condition on the rows that a viewer may use."""


class Kind(ABC):
    """A kind of job. What the methods here do is what most kinds need; a kind that differs overrides them."""

    name: str
    handler_version: int
    """Grows when a spec of the new version must not run on workers of the old one."""
    inherited: tuple[str, ...] = ()
    """Fields of a spec that came with the result that the job is about: who may use that result may use them with it."""
    short = False
    """Jobs of a short kind take seconds on a device and wait in the queue of generations."""
    measures = False
    """Results hold doses and gains (`app.jobs.measures`)."""
    retries_a_graph = False
    """A retry is planned anew, which may take seconds."""

    @abstractmethod
    def record(self, session: Session, job: Job, outcome: JsonObject) -> JsonObject:
        """Turns a handler's result into rows, in the transaction that finishes the job; what the Job shows as `result`."""

    @abstractmethod
    def links(self, job: Job) -> dict[str, str]:
        """What a finished job's links lead to, besides those of every job."""

    def usable(self) -> Mapping[str, Usable]:
        """For each prefix of the ids that `record` gives, who may use what has such an id."""
        return {}

    def failed(self, session: Session, job: Job, error: ErrorFacts) -> None:  # noqa: B027 - most kinds tell nothing
        """Runs in the transaction that ends the job without success."""

    def cancelled(self, session: Session, job: Job, viewer: Viewer) -> bool:
        """Whether this took the cancel request upon itself; it is asked before the job is locked."""
        return False

    def retried(
        self, session: Session, job: Job, viewer: Viewer, request_id: str | None, promise: Idempotency | None
    ) -> Submitted | None:
        """The job that takes the place of this one; None for a new job of the same spec."""
        return None

    def followers(self, session: Session, job: Job, to: Sharing) -> Sequence[Job]:
        """The jobs that follow when this one is shown to others."""
        return ()

    def parts(self, session: Session, job: Job) -> Sequence[str]:
        """Ids of the jobs that are deleted with this one where nothing else uses them."""
        return ()


def kind_named(name: str) -> Kind:
    """The kind of that name; its package is imported when first asked for. Raises KeyError for an unknown one."""
    module, attribute = KINDS[name].split(":")
    kind: Kind = getattr(import_module(module), attribute)
    return kind


def handler_versions() -> dict[str, int]:
    """Per kind, the newest handler version that this installation can run; workers leave newer jobs to newer workers."""
    return {name: kind_named(name).handler_version for name in KINDS}
