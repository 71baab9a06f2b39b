"""Changes to an existing job that its owner and administrators may make: name, tags, notes, webhook, visibility, retention of results.

The calculation itself never changes.
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.auth.sharing import Sharing, share
from app.auth.viewer import Viewer
from app.errors import Problem
from app.jobs import service
from app.jobs.kinds import kind_named
from app.jobs.models import Job
from app.jobs.schemas import JobEdit
from app.jobs.states import FINISHED
from app.jobs.transitions import notify
from app.text import check_text
from app.webhooks import naming as webhooks


def edit(session: Session, job_id: str, viewer: Viewer, change: JobEdit) -> Job:
    """Sets the fields that `change` contains and returns the job; all other fields stay.

    Raises Problem 404, 403 for another user's job, 409 for the webhook of a finished job, 422 for an unknown group or webhook.
    """
    job = service.managed(session, job_id, viewer)
    values = change.model_dump(exclude_unset=True, exclude=set(Sharing.model_fields))
    check_text(values)
    shown = bool(change.model_fields_set & Sharing.model_fields.keys())
    followers = kind_named(job.kind).followers(session, job, _sharing(job, change)) if shown else ()
    service.reread(session, job, lock=True)
    if shown:
        _show(session, job, followers, viewer, _sharing(job, change))
    if "webhook" in values:
        if job.state in FINISHED:
            raise Problem(409, "job_finished", f"{job_id} has ended ({job.state}): its webhook can no longer be changed.")
        webhooks.check_usable(session, change.webhook)
    for field, value in values.items():
        setattr(job, COLUMNS.get(field, field), value)
    session.flush()
    if values:
        service.note_other(session, viewer, job, "job.edit", fields=sorted(values))
    notify(session, job_id)
    return job


def _sharing(job: Job, change: JobEdit) -> Sharing:
    """Returns the sharing that the change asks for; naming a group means the visibility `group`."""
    visibility = change.visibility if "visibility" in change.model_fields_set else "group" if change.group else job.visibility
    return Sharing(visibility=visibility, group=change.group)


def _show(session: Session, job: Job, followers: Sequence[Job], viewer: Viewer, to: Sharing) -> None:
    """Changes who may see the job and the jobs that follow it."""
    share(session, job, job.id, to, viewer)
    for follower in followers:
        follower.visibility, follower.group_name = to.visibility, to.group
        notify(session, follower.id)
    session.flush()


COLUMNS = {"keep": "kept"}
