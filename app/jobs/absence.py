"""Explains why a result requested by its job's id does not exist: not yet, never, or not for this caller."""

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.errors import Problem, not_found
from app.jobs import repository
from app.jobs.states import FINISHED, State


def absent(session: Session, what: str, identifier: str, viewer: Viewer, *kinds: str) -> Problem:
    """Returns the problem to raise: 409 while a job of these kinds has not ended, or when it ended without a result; 404 for everything else."""
    job = repository.find(session, identifier, viewer)
    if job is None or job.kind not in kinds or job.state == State.SUCCEEDED:
        return not_found(what, identifier)
    if job.state not in FINISHED:
        detail = (
            f"{identifier} is {job.state}: its {what} exists once it has succeeded. Wait with GET /v1/jobs/{identifier}?wait=25."
        )
        return Problem(409, "job_not_finished", detail)
    why = f": {job.error['detail']}" if job.error else "."
    again = f"POST /v1/jobs/{identifier}/retry makes it again."
    return Problem(409, "job_without_result", f"{identifier} is {job.state} and has no {what}{why} {again}")
