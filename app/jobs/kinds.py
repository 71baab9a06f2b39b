"""Describes how kinds of job differ in the service.

A new kind needs a line in KINDS and a `Kind` in its package's `kind.py`; a handler, with its line in `workers/handlers/__init__.py`; and the
type of its spec, with its line in BY_KIND of `terms/specs.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Generic, cast

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute, Session
from typing_extensions import TypeVar

from app.auth.sharing import Sharing
from app.auth.viewer import Viewer
from app.jobs.models import Job
from app.jobs.submission import Asker, Submitted
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


Result = TypeVar("Result", default=JsonObject)
"""What the Job shows as `result`."""
Outcome = TypeVar("Outcome", default=Result)
"""What the kind's handler returns; by default the result without the ids of rows."""


class Kind(ABC, Generic[Result, Outcome]):
    """A kind of job. The methods here suit most kinds; a kind that differs overrides them."""

    name: str
    handler_version: int
    """Version of the handler's spec; increased when older workers must not run newer specs."""
    inherited: tuple[str, ...] = ()
    """Fields of a spec that were copied from the result that the job is about: a user of that result may use them together with it."""
    short = False
    """Whether jobs of this kind take only seconds on a device and wait in the queue of generations."""
    measures = False
    """Whether results contain doses and gains (`app.jobs.measures`)."""
    retries_a_graph = False
    """Whether a retry plans the whole graph of jobs again, which may take seconds."""

    @abstractmethod
    def record(self, session: Session, job: Job, outcome: Outcome) -> Result:
        """Stores a handler's result as rows, in the transaction that finishes the job; returns what the Job shows as `result`."""

    @abstractmethod
    def links(self, job: Job) -> dict[str, str]:
        """Returns the links of a finished job, in addition to the links of every job."""

    def result(self, job: Job) -> Result:
        """Returns the result of a finished job."""
        return cast(Result, job.result)

    def usable(self) -> Mapping[str, Usable]:
        """Returns, for each prefix of the ids that `record` assigns, the column of ids and the condition on the rows that a viewer may use."""
        return {}

    def failed(self, session: Session, job: Job, error: ErrorFacts) -> None:
        """Runs in the transaction that ends the job without success."""

    def cancelled(self, session: Session, job: Job, viewer: Viewer) -> bool:
        """Handles a cancel request and returns True, if this kind cancels its jobs itself; called before the job is locked."""
        return False

    def retried(self, session: Session, job: Job, asker: Asker) -> Submitted | None:
        """Returns the job that replaces this one; None to submit a new job with the same spec."""
        return None

    def awaited(self, session: Session, job: Job) -> str | None:
        """Returns the job that takes the place of `job`, which ended without success, when a job that needed it is retried.

        `job.id` means this job or its newest retry (`app.jobs.renewal` chooses); None: the retried job need not wait.
        """
        return job.id

    def followers(self, session: Session, job: Job, to: Sharing) -> Sequence[Job]:
        """Returns the jobs that get the same visibility when this job is shared."""
        return ()

    def parts(self, session: Session, job: Job) -> Sequence[str]:
        """Returns the ids of jobs that are deleted together with this job unless something else uses them."""
        return ()


def kind_named(name: str) -> Kind:
    """Returns the kind with this name; imports its package on first use. Raises KeyError for an unknown name."""
    module, attribute = KINDS[name].split(":")
    kind: Kind = getattr(import_module(module), attribute)
    return kind


def handler_versions() -> dict[str, int]:
    """Returns, per kind, the newest handler version that this installation can run; workers leave newer jobs to newer workers."""
    return {name: kind_named(name).handler_version for name in KINDS}
