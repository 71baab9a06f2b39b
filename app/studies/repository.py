"""Database statements for studies."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, or_, select, tuple_
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.db import among
from app.jobs.models import Job
from app.jobs.repository import made_by_visible, visible
from app.studies.models import Study


def _visible(viewer: Viewer) -> Select[Study]:
    return select(Study).where(made_by_visible(Study.job_id, viewer))


def find(session: Session, identifier: str, viewer: Viewer) -> Study | None:
    """Returns the study with its own id or the id of its Job, if the viewer may see it."""
    return session.scalars(_visible(viewer).where(or_(Study.id == identifier, Study.job_id == identifier))).one_or_none()


def listing(session: Session, viewer: Viewer, *, limit: int, before: tuple[datetime, str] | None) -> Sequence[Study]:
    """Returns a page of studies, newest first; `before` is the `(created_at, id)` of the last entry of the previous page."""
    statement = _visible(viewer).order_by(Study.created_at.desc(), Study.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(tuple_(Study.created_at, Study.id) < before)
    return session.scalars(statement).all()


def jobs_of(session: Session, study: Study, viewer: Viewer) -> dict[str, Job]:
    """Returns the jobs of the study's graph that the viewer may see now, by node, and the report's job under `report`."""
    return jobs_of_all(session, [study], viewer)[0]


def jobs_of_all(session: Session, studies: Sequence[Study], viewer: Viewer) -> list[dict[str, Job]]:
    """Returns what `jobs_of` returns for each of the studies, by one statement."""
    graphs = [{name: node["job"] for name, node in study.nodes.items()} | {"report": study.job_id} for study in studies]
    asked = {job_id for ids in graphs for job_id in ids.values()}
    seen = {job.id: job for job in session.scalars(visible(viewer).where(among(Job.id, asked)))}
    return [{name: seen[job_id] for name, job_id in ids.items() if job_id in seen} for ids in graphs]
