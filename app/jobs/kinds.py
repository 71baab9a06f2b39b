"""What differs between kinds of job on the service's side. A new kind adds one line here, a `kind.py` in its package and a handler."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.auth.sharing import Sharing
from app.auth.viewer import Viewer
from app.jobs.models import Job
from app.jobs.submission import Idempotency, Submitted

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


def _nothing(_session: Session, _job: Job, _error: dict[str, Any]) -> None:
    """Most kinds have nothing to tell anybody when a job of theirs fails."""


def _nobody(_session: Session, _job: Job, _to: Sharing) -> Sequence[Job]:
    """Most jobs are looked at by themselves."""
    return ()


def _no_parts(_session: Session, _job: Job) -> Sequence[str]:
    """Most jobs have none."""
    return ()


def _as_any_job(_session: Session, _job: Job, _viewer: Viewer) -> bool:
    """Most kinds are cancelled as every job is."""
    return False


def _as_any_retry(
    _session: Session, _job: Job, _viewer: Viewer, _request_id: str | None, _promise: Idempotency | None
) -> Submitted | None:
    """Most kinds are retried by a new job of the same spec."""
    return None


Usable = tuple[InstrumentedAttribute[str], Callable[[Viewer], ColumnElement[bool]]]
"""The column that holds ids of one prefix, and the condition on the rows that a viewer may use."""


@dataclass(frozen=True)
class Kind:
    """`record` turns a handler's result into rows, in the transaction that finishes the job, and returns what the Job shows as `result`.

    `failed` runs in the transaction that ends the job without success. `cancelled` may take a cancel request upon itself, before the job
    is locked, and says so with True; `retried` may take a retry, and returns the job it made. `followers` are the jobs that follow when the
    job is shown to others; `parts` are the ids of those that are deleted with it where nothing else uses them. `links` adds to the Job's
    links. `handler_version` grows when a spec of the new version must not run on workers of the old one. `inherited` are the fields of a spec
    that came with the result that the job is about: who may use that result may use them with it. `usable` says, for each
    prefix of the ids that `record` gives, who may use what has such an id. Jobs of a `short` kind take seconds on a
    device and wait in the queue of generations. Results of kinds with `measures` hold doses and gains (`app.jobs.measures`).
    """

    name: str
    handler_version: int
    record: Callable[[Session, Job, dict[str, Any]], dict[str, Any]]
    links: Callable[[Job], dict[str, str]]
    failed: Callable[[Session, Job, dict[str, Any]], None] = _nothing
    cancelled: Callable[[Session, Job, Viewer], bool] = _as_any_job
    retried: Callable[[Session, Job, Viewer, str | None, Idempotency | None], Submitted | None] = _as_any_retry
    followers: Callable[[Session, Job, Sharing], Sequence[Job]] = _nobody
    parts: Callable[[Session, Job], Sequence[str]] = _no_parts
    inherited: tuple[str, ...] = ()
    usable: Mapping[str, Usable] = field(default_factory=dict)
    short: bool = False
    measures: bool = False

    @property
    def retries_a_graph(self) -> bool:
        """Whether a retry is planned anew, which may take seconds."""
        return self.retried is not _as_any_retry


def kind_named(name: str) -> Kind:
    """The kind of that name; its package is imported when first asked for. Raises KeyError for an unknown one."""
    module, attribute = KINDS[name].split(":")
    kind: Kind = getattr(import_module(module), attribute)
    return kind


def handler_versions() -> dict[str, int]:
    """Per kind, the newest handler version that this installation can run; workers leave newer jobs to newer workers."""
    return {name: kind_named(name).handler_version for name in KINDS}
