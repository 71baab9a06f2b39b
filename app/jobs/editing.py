"""What people may change about a job that exists: what it is called, and what becomes of its results. Never what it calculates."""

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.errors import Problem
from app.jobs import service
from app.jobs.models import Job
from app.jobs.schemas import JobEdit
from app.jobs.transitions import notify
from app.text import check_text


def edit(session: Session, job_id: str, viewer: Viewer, change: JobEdit) -> Job:
    """The job with the fields that `change` names set; those it leaves out stay. Raises Problem 404, 403 for others' jobs."""
    job = service.find(session, job_id, viewer)
    if viewer.role != "admin" and job.owner != viewer.owner:
        raise Problem(403, "forbidden", f"{job_id} is {job.owner}'s: only its owner or an administrator may change it.")
    values = change.model_dump(exclude_unset=True)
    check_text(values)
    session.refresh(job, with_for_update=True)
    for field, value in values.items():
        setattr(job, COLUMNS.get(field, field), value)
    session.flush()
    notify(session, job_id)
    return job


COLUMNS = {"keep": "kept"}
