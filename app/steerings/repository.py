"""Database statements for steerings."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, or_, select, tuple_
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.jobs.models import Job
from app.jobs.repository import made_by_visible
from app.jobs.states import State
from app.settled import settled
from app.steerings.models import Steering
from terms.specs import SteeringAsked


def _visible(viewer: Viewer) -> Select[Steering]:
    return select(Steering).where(made_by_visible(Steering.job_id, viewer))


def find(session: Session, identifier: str, viewer: Viewer) -> Steering | None:
    """Returns the steering with its own id or the id of its job, if the viewer may see it."""
    return session.scalars(_visible(viewer).where(or_(Steering.id == identifier, Steering.job_id == identifier))).one_or_none()


def listing(
    session: Session,
    viewer: Viewer,
    *,
    model: str | None,
    trait: str | None,
    limit: int,
    before: tuple[datetime, str] | None,
) -> Sequence[Steering]:
    """Returns a page of steerings, newest first; `before` is the `(created_at, id)` of the last one on the page before."""
    statement = _visible(viewer).order_by(Steering.created_at.desc(), Steering.id.desc()).limit(limit)
    if model is not None:
        statement = statement.where(Steering.model == model)
    if trait is not None:
        statement = statement.where(Steering.trait == trait)
    if before is not None:
        statement = statement.where(tuple_(Steering.created_at, Steering.id) < before)
    return session.scalars(statement).all()


def judged_alike(session: Session, spec: SteeringAsked, viewer: Viewer) -> Steering | None:
    """Returns the newest steering visible to the viewer with a reference judge fitted on the same responses of the same model."""
    same = [
        Job.spec[name].as_string() == str(value)
        for name, value in (("max_new_tokens", spec["max_new_tokens"]), ("special_tokens", spec["special_tokens"]))
    ]
    extraction = Job.spec["extraction"].as_string()
    same.append(extraction.is_(None) if spec["extraction"] is None else extraction == spec["extraction"])
    statement = (
        _visible(viewer)
        .join(Job, Job.id == Steering.job_id)
        .where(Steering.model == spec["model"], Steering.trait_version == spec["trait"]["version"], Steering.judge == "reference")
        .where(Steering.weight_hash == spec["weight_hash"], Steering.reading_hash == spec["reading_hash"], *same)
    )
    return session.scalars(statement.order_by(Steering.created_at.desc()).limit(1)).one_or_none()


@settled
def answers_and_seconds(session: Session, model: str) -> list[tuple[float, float]]:
    """Returns answers and device seconds of the model's last ten steerings."""
    last = (
        select(Job.metrics["answers"].as_integer(), Job.device_seconds)
        .where(Job.kind == "steer", Job.model == model, Job.state == State.SUCCEEDED)
        .order_by(Job.created_at.desc())
        .limit(10)
    )
    return [(size, seconds) for size, seconds in session.execute(last) if size is not None]
