"""Finds what a job made from an earlier one waits for. A job that the earlier one needed may have ended without success: its newest retry takes
its place.
"""

from collections.abc import Mapping

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.errors import Problem
from app.jobs import repository
from app.jobs.edges import remedy, told
from app.jobs.kinds import kind_named
from app.jobs.models import Job, JobEdge
from app.jobs.schemas import Edge
from app.jobs.states import State
from terms.naming import NAMING
from terms.values import Json, JsonObject

HOPEFUL = (State.QUEUED, State.RUNNING, State.SUCCEEDED)
"""States of jobs that have succeeded or can."""

_FAMILY = text("""
WITH RECURSIVE family(id, retry_of) AS (
    SELECT id, retry_of FROM jobs WHERE id = :job
    UNION SELECT j.id, j.retry_of FROM jobs j JOIN family f ON j.retry_of = f.id OR j.id = f.retry_of
)
SELECT id FROM family""")


def renewed(
    session: Session, old: Job, viewer: Viewer, names: Mapping[str, str] | None = None
) -> tuple[list[Edge], dict[str, str]]:
    """Returns the edges of `old` for a job in its place, and the new id of each job that is replaced there: those in `names` as given, and
    each needed job that ended without success by its newest retry that the viewer may see. An edge to a model's job is dropped once the
    model is ready.

    Raises Problem 422 `dependency_failed` when no retry of a needed job has succeeded or can.
    """
    instead: dict[str, str | None] = {**(names or {})}
    failed = select(Job).join(JobEdge, JobEdge.after_id == Job.id).where(JobEdge.job_id == old.id, JobEdge.needs == "success")
    for job in session.scalars(failed.where(Job.state.in_([State.FAILED, State.CANCELLED])).order_by(Job.id)).all():
        if job.id not in instead:
            instead[job.id] = _instead(session, job, old, viewer)
    after: dict[str, Edge] = {}
    for edge in repository.edges(session, old.id):
        name = instead.get(edge.job, edge.job)
        if name is not None and (name not in after or edge.needs == "success"):
            after[name] = Edge(job=name, needs=edge.needs)
    return list(after.values()), {job: name for job, name in instead.items() if name is not None}


def _instead(session: Session, failed: Job, old: Job, viewer: Viewer) -> str | None:
    """Returns the job to wait for in the place of `failed`, or None. A job that the viewer may not see stays: `references.check` refuses it."""
    awaited = kind_named(failed.kind).awaited(session, failed)
    if awaited != failed.id:
        return awaited
    family = session.scalars(_FAMILY, {"job": failed.id}).all()
    seen = select(Job.id).where(Job.id.in_(family), repository.usable(viewer))
    newest = session.scalar(seen.where(Job.state.in_(HOPEFUL)).order_by(Job.created_at.desc(), Job.id.desc()).limit(1))
    if newest is None and session.scalar(seen.where(Job.id == failed.id)) is not None:
        detail = f"{old.id} needs {told(failed)} {remedy(failed, old.kind, managed=viewer.manages(failed.owner))}"
        raise Problem(422, "dependency_failed", detail)
    return newest or failed.id


def with_names(spec: JsonObject, names: Mapping[str, str]) -> JsonObject:
    """Returns the spec with every old job's id replaced by the new id, in the fields that name things."""
    return {key: _renamed(key, value, names) for key, value in spec.items()}


def _renamed(key: str, value: Json, names: Mapping[str, str]) -> Json:
    if isinstance(value, dict):
        return with_names(value, names)
    if isinstance(value, list):
        return [_renamed(key, inner, names) for inner in value]
    return names.get(value, value) if key in NAMING and isinstance(value, str) else value
