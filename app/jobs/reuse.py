"""Finished jobs that may answer a new request: of the same calculation, on the same known weights, read the same way."""

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.jobs import repository
from app.jobs.models import Job
from app.jobs.service import spec_hash
from terms.specs import Spec
from terms.values import JsonObject


def find_reusable(session: Session, kind: str, spec: Spec | JsonObject, viewer: Viewer) -> Job | None:
    """A finished job of the same calculation that the caller may read, on the same known weights, read the same way."""
    about: JsonObject = {**spec}
    about_a_model = "weight_hash" in about
    if about_a_model and (about["weight_hash"] is None or about["reading_hash"] is None):
        return None
    found = repository.succeeded_with(session, kind, spec_hash(kind, spec), viewer)
    return None if found is not None and about_a_model and read_as(found.result) != about["reading_hash"] else found


def read_as(result: JsonObject | None) -> str | None:
    """What the texts of a finished job were read as, by its result."""
    parts = [result or {}, *(part for part in (result or {}).values() if isinstance(part, dict))]
    return next((part["reading_hash"] for part in parts if part.get("reading_hash")), None)
