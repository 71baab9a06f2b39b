"""Finds finished jobs that may answer a new request."""

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.jobs import repository
from app.jobs.models import Job
from app.jobs.specs import spec_hash
from terms.specs import Spec
from terms.values import JsonObject


def find_reusable(session: Session, kind: str, spec: Spec | JsonObject, viewer: Viewer) -> Job | None:
    """Returns a finished job that the caller may read, of the same calculation on the same weights, with texts read in the same way.

    Texts are read in the same way if `reading_hash` is equal: the same token ids, rendered prompts, end ids and masks. Only the newest job with
    the same spec is considered. Returns None without such a job, and while the model of the spec is not inspected.
    """
    about_a_model, read = "weight_hash" in spec, spec.get("reading_hash")
    if about_a_model and (spec.get("weight_hash") is None or read is None):
        return None
    job = repository.succeeded_with(session, kind, spec_hash(kind, spec), viewer)
    return None if job is not None and about_a_model and read_as(job.result) != read else job


def read_as(result: JsonObject | None) -> str | None:
    """Returns the first `reading_hash` in a finished job's result or in one of its objects: a hash of how the model reads texts."""
    parts = [result or {}, *(part for part in (result or {}).values() if isinstance(part, dict))]
    return next((part["reading_hash"] for part in parts if part.get("reading_hash")), None)
