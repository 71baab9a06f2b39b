"""Reads of jobs, events and artifacts. Every statement that shows a job to a caller uses `visible`."""

from collections import namedtuple
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import ARRAY, ColumnElement, Select, String, any_, bindparam, func, literal_column, or_, select, text, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.auth.repository import groups_of
from app.auth.viewer import Viewer
from app.auth.visibility import parameters_of, seen, seen_by_parameters
from app.db import Rows, among
from app.devices.models import DeviceHold, Worker
from app.devices.repository import in_force
from app.jobs.labels import Labels
from app.jobs.models import SHARED_CELL, Artifact, Job, JobCell, JobEdge, JobEvent
from app.jobs.planned import planned_job
from app.jobs.schemas import Edge
from app.jobs.states import FINISHED, HELD, State
from app.jobs.submission import MOST_WARNINGS, WARNED
from app.jobs.words import holds_words, narrowed
from app.moments import ago
from app.settled import settled

IN_SHARED_CELL = text(SHARED_CELL)
"""Literal SQL, so that the query planner recognizes the partial index of such cells."""
ABOUT_MODELS = ("inspect", "download", "prove")
"""Kinds of jobs that the service submits for a model, ahead of the jobs of all users who name the model."""


@dataclass(frozen=True)
class JobFilters:
    """Filters of a list of jobs; None and empty mean no filter."""

    state: Sequence[State] = field(default_factory=list)
    kind: str | None = None
    model: str | None = None
    owner: str | None = None
    name: str | None = None
    tag: str | None = None
    words: str | None = None
    labels: Labels = field(default_factory=Labels)
    created_after: datetime | None = None
    created_before: datetime | None = None


_WARNED: ColumnElement[list[str]] = literal_column(
    f"""ARRAY(SELECT told.data ->> 'detail' FROM job_events told
    WHERE told.job_id = jobs.id AND told.seq > 1 AND told.seq <= {1 + MOST_WARNINGS} AND told.type = '{WARNED}' ORDER BY told.seq)"""
)
"""The warnings of a job's submission, as a column; such events directly follow a job's first event."""


class Warned(NamedTuple):
    """A job to show, which may be a tuple with the columns of a job but for `_HIDDEN`, and the warnings of its submission."""

    job: Job
    warnings: Sequence[str]


_HIDDEN = frozenset({
    "words", "handler_version", "spec_hash", "request_id", "progress_at", "stall_seconds", "max_seconds", "overtaken", "queued_at",
    "lease_token", "lease_expires_at", "child_pid", "cancelled_by", "event_seq",
})  # fmt: skip
"""Columns that no view of a job needs: each column costs time in every row and in every statement."""
_COLUMNS = [column for column in Job.__table__.c if column.name not in _HIDDEN]
_SHOWN = {admin: select(*_COLUMNS, _WARNED).where(seen_by_parameters(Job, admin=admin)) for admin in (False, True)}
"""The jobs that a member or an administrator may see, column by column: to make entities of them takes as long as everything else."""
_JobTuple = cast(Any, namedtuple)("_JobTuple", [column.name for column in _COLUMNS])
_LISTED = {
    admin: shown.order_by(Job.created_at.desc(), Job.id.desc()).limit(bindparam("most")) for admin, shown in _SHOWN.items()
}
_WITH_IDS = {admin: shown.where(Job.id == any_(bindparam("ids", type_=ARRAY(String)))) for admin, shown in _SHOWN.items()}
"""Built once, because every list and every poll runs one of them."""


def _warned(session: Rows, statement: Select[Any], parameters: Mapping[str, object]) -> list[Warned]:
    rows = session.execute(statement, parameters).all()
    return [Warned(_JobTuple._make(row[:-1]), row[-1]) for row in rows]


def visible(viewer: Viewer) -> Select[Job]:
    """Selects the jobs that a viewer may see."""
    return select(Job).where(seen(Job, viewer))


def usable(viewer: Viewer) -> ColumnElement[bool]:
    """Returns the condition on jobs that a viewer's job may wait for and read: visible jobs, and inspections, proofs and downloads of models."""
    return or_(seen(Job, viewer), Job.kind.in_(ABOUT_MODELS))


def usable_by_parameters(*, admin: bool) -> ColumnElement[bool]:
    """Returns the condition of `usable` for a statement that is built once and run with `parameters_of` a viewer."""
    return or_(seen_by_parameters(Job, admin=admin), Job.kind.in_(ABOUT_MODELS))


def made_by_visible(job_id: InstrumentedAttribute[str], viewer: Viewer) -> ColumnElement[bool]:
    """Returns the condition on rows of a table with a visible job in their column `job_id`: results have the visibility of their jobs."""
    return job_id.in_(select(Job.id).where(seen(Job, viewer)))


@settled
def find(session: Session, job_id: str, viewer: Viewer) -> Job | None:
    """Returns the job if the viewer may see it; otherwise None. In a dry run, jobs of the plan are found too."""
    return planned_job(session, job_id) or session.scalars(visible(viewer).where(Job.id == job_id)).one_or_none()


def shown_to(session: Session, job: Job, owner: str) -> bool:
    """Returns whether a user may see the job with a member's key."""
    if job.owner == owner or job.visibility == "public":
        return True
    return job.group_name in groups_of(session, [owner])[owner]


def edges(session: Session, job_id: str) -> list[Edge]:
    """Returns the jobs that this job waits for, each with the state that is needed."""
    rows = session.execute(
        select(JobEdge.after_id, JobEdge.needs).join(Job, Job.id == JobEdge.after_id).where(JobEdge.job_id == job_id)
    )
    return [Edge(job=row.after_id, needs=row.needs) for row in rows]


def listing(
    session: Rows, viewer: Viewer, filters: JobFilters, *, limit: int, before: tuple[datetime, str] | None
) -> list[Warned]:
    """Returns a page of jobs, newest first; `before` is the `(created_at, id)` of the last job of the previous page."""
    conditions = filters.labels.conditions()
    if before is not None:
        conditions.append(tuple_(Job.created_at, Job.id) < before)
    if filters.state:
        conditions.append(Job.state.in_(list(filters.state)))
    if filters.tag is not None:
        conditions.append(Job.tags.contains([filters.tag]))
    if filters.name is not None:
        conditions.append(Job.name.icontains(filters.name, autoescape=True))
    if (words := holds_words(filters.words or "")) is not None:
        conditions.append(narrowed(session, words))
    if filters.created_after is not None:
        conditions.append(Job.created_at > filters.created_after)
    if filters.created_before is not None:
        conditions.append(Job.created_at < filters.created_before)
    for column, value in ((Job.kind, filters.kind), (Job.model, filters.model), (Job.owner, filters.owner)):
        if value is not None:
            conditions.append(column == value)
    statement = _LISTED[viewer.is_admin]
    statement = statement.where(*conditions) if conditions else statement  # as it is, its cache key need not be computed again
    return _warned(session, statement, {"most": limit, **parameters_of(viewer)})


def seen_with_ids(session: Rows, job_ids: Sequence[str], viewer: Viewer) -> list[Warned]:
    """Returns the jobs among these that the viewer may see."""
    return _warned(session, _WITH_IDS[viewer.is_admin], {"ids": list(job_ids), **parameters_of(viewer)})


def tallies(session: Session, owner: str, *, most: int) -> dict[str, int]:
    """Counts a user's jobs: `running`, `queued`, and `finished` among the newest `most`. Each count reads an index of few rows."""
    own = Job.owner == owner
    held, queued = (
        session.scalar(select(func.count()).select_from(Job).where(own, Job.state.in_(states))) or 0
        for states in (list(HELD), [State.QUEUED])
    )
    newest = select(Job.state).where(own).order_by(Job.created_at.desc(), Job.id.desc()).limit(most).subquery()
    finished = session.scalar(select(func.count()).select_from(newest).where(newest.c.state.in_(list(FINISHED)))) or 0
    return {"running": held, "queued": queued, "finished": finished}


def events(session: Session, job_id: str, after_seq: int, limit: int) -> Sequence[JobEvent]:
    """Returns the events of a job numbered past `after_seq`."""
    return session.scalars(
        select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after_seq).order_by(JobEvent.seq).limit(limit)
    ).all()


def early_end(session: Session, job_id: str) -> JobEvent | None:
    """Returns the newest event that returned the job to the queue; None if no attempt ended so, or its event was removed."""
    returned = JobEvent.type.in_(["lost", "interrupted", "yielded", "drained", "deferred"])
    return session.scalars(
        select(JobEvent).where(JobEvent.job_id == job_id, returned).order_by(JobEvent.seq.desc()).limit(1)
    ).one_or_none()


def warnings(session: Session, job_ids: Sequence[str]) -> dict[str, list[str]]:
    """Returns the warnings of these jobs' submissions, by job."""
    return dict(session.execute(select(Job.id, _WARNED).where(among(Job.id, job_ids))).all())


class ArtifactRow(NamedTuple):
    """A result file, as it is shown with its job."""

    name: str
    size: int
    media_type: str
    digest: str


def artifacts(session: Rows, job_ids: Sequence[str]) -> dict[str, list[ArtifactRow]]:
    """Returns the result files of these jobs, by job."""
    columns = (Artifact.job_id, Artifact.name, Artifact.size, Artifact.media_type, Artifact.digest)
    by_job: dict[str, list[ArtifactRow]] = {}
    for row in session.execute(select(*columns).where(among(Artifact.job_id, job_ids)).order_by(Artifact.name)):
        by_job.setdefault(row.job_id, []).append(ArtifactRow(row.name, row.size, row.media_type, row.digest))
    return by_job


def owned(session: Session, owner: str, job_ids: Collection[str]) -> frozenset[str]:
    """Returns the ids among `job_ids` of jobs that the user owns."""
    return frozenset(session.scalars(select(Job.id).where(among(Job.id, job_ids), Job.owner == owner)))


def artifact(session: Session, job_id: str, name: str) -> Artifact | None:
    """Returns a result file of a job by name."""
    return session.scalars(select(Artifact).where(Artifact.job_id == job_id, Artifact.name == name)).one_or_none()


def cell_digest(session: Session, job_id: str, cell: str) -> str | None:
    """Returns the digest under which a finished cell is stored."""
    return session.scalar(select(JobCell.digest).where(JobCell.job_id == job_id, JobCell.cell == cell))


def shared_cell_digest(session: Session, cell: str, owner: str) -> str | None:
    """Returns the digest of a finished shared cell with this name, from any job that a user may see with a member's key."""
    viewer = Viewer(owner, "member", groups=frozenset(groups_of(session, [owner])[owner]))
    statement = (
        select(JobCell.digest).join(Job, Job.id == JobCell.job_id).where(JobCell.cell == cell, IN_SHARED_CELL, seen(Job, viewer))
    )
    return session.scalars(statement.limit(1)).one_or_none()


def succeeded_with(session: Session, kind: str, spec_hash: str, viewer: Viewer) -> Job | None:
    """Returns the newest succeeded job with this spec hash that the viewer may read and that still has its results."""
    statement = visible(viewer).where(Job.kind == kind, Job.spec_hash == spec_hash, Job.state == State.SUCCEEDED)
    statement = statement.where(Job.results_removed_at.is_(None))
    return session.scalars(statement.order_by(Job.finished_at.desc()).limit(1)).one_or_none()


def bells_wanted(session: Session, job_class: str, *, silent_after: float, everybody: bool = False) -> int:
    """Returns how many notifications (bells) a class should have pending: one per idle live worker that may claim, but no more than ready jobs.

    `everybody`: one per idle worker if any job is ready, because some workers may have a version that cannot run the job.
    """
    busy = select(Job.worker_id).where(Job.state.in_([State.RUNNING, State.CANCELLING]))
    held = select(DeviceHold.worker_id).where(in_force())
    idle = select(func.count()).where(
        Worker.job_class == job_class,
        Worker.id.not_in(busy),
        Worker.id.not_in(held),
        Worker.blocked.is_(None),
        Worker.seen_at > ago(seconds=silent_after),
    )
    workers = session.scalar(idle) or 0
    jobs = len(session.scalars(_ready().where(Job.job_class == job_class).limit(workers)).all()) if workers else 0
    return workers if everybody and jobs else min(workers, jobs)


def ready_for(session: Session, worker_id: str, job_class: str) -> str | None:
    """Returns a job that waits only for a worker of this class, always the same job; None when this worker may not claim now."""
    held = select(DeviceHold.worker_id).where(DeviceHold.worker_id == worker_id, in_force())
    blocked = select(Worker.id).where(Worker.id == worker_id, Worker.blocked.is_not(None))
    statement = _ready().where(Job.job_class == job_class, ~held.exists(), ~blocked.exists())
    return session.scalars(statement.order_by(Job.short, Job.owner, Job.priority.desc(), Job.id).limit(1)).one_or_none()


def idle_for(session: Session, job_class: str, seconds: float) -> bool:
    """Returns whether a worker that may claim jobs of the class had no job for `seconds`, and no job waits for it."""
    since = ago(seconds=seconds)
    heard = ago(seconds=seconds + 30)  # a worker reports every few seconds
    of_class = Job.job_class == job_class
    busy = select(Job.id).where(of_class, (Job.state.in_(list(HELD))) & (Job.worker_id == Worker.id))
    held = select(DeviceHold.worker_id).where(DeviceHold.worker_id == Worker.id, in_force())
    free = select(Worker.id).where(
        Worker.job_class == job_class, Worker.seen_at > heard, Worker.started_at < since, Worker.blocked.is_(None), ~held.exists(),
        ~busy.exists(),
    )  # fmt: skip
    lately = select(Job.id).where(of_class, Job.finished_at > since)
    idle = session.scalar(select(free.exists() & ~_ready().where(of_class).exists() & ~lately.exists()))
    return bool(idle)


def _ready() -> Select[str]:
    """Selects the ids of queued jobs that wait for no other job and for no delay."""
    due = (Job.not_before.is_(None)) | (Job.not_before <= func.now())
    return select(Job.id).where(Job.state == State.QUEUED, Job.blockers == 0, due)


def deferrals(session: Session, job_id: str) -> int:
    """Returns how often the job was deferred since its last finished cell."""
    last_cell = select(func.coalesce(func.max(JobEvent.seq), 0)).where(JobEvent.job_id == job_id, JobEvent.type == "cell")
    statement = select(func.count()).where(
        JobEvent.job_id == job_id, JobEvent.type == "deferred", JobEvent.seq > last_cell.scalar_subquery()
    )
    return session.scalar(statement) or 0
