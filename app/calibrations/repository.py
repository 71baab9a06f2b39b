"""Database statements for calibrations."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.calibrations.models import Calibration
from app.calibrations.schemas import MAX_NEW_TOKENS
from app.jobs.labels import Labels, made_with
from app.jobs.models import Job
from app.jobs.repository import made_by_visible
from app.jobs.states import State
from app.models.models import Model
from app.settled import settled
from binnacle.words.massive import DEFAULT_RULE, SCHEMA_VERSION
from terms.specs import SPECIAL_TOKENS

Found = Row[Calibration, Model]
"""A calibration and its model."""


def _visible(viewer: Viewer) -> Select[Calibration, Model]:
    """Returns the query of all calibrations that the viewer may see, each with its model."""
    statement = select(Calibration, Model).join(Model, Model.name == Calibration.model)
    return statement.where(made_by_visible(Calibration.job_id, viewer))


@settled
def find(session: Session, identifier: str, viewer: Viewer) -> Found | None:
    """Returns the calibration with this id, or made by the job with this id, if the viewer may see it."""
    return session.execute(
        _visible(viewer).where(or_(Calibration.id == identifier, Calibration.job_id == identifier))
    ).one_or_none()


def named(session: Session, identifiers: Sequence[str], viewer: Viewer) -> Sequence[Found]:
    """Returns the calibrations with these ids, or made by the jobs with these ids, that the viewer may see; each once, in any order."""
    meant = or_(Calibration.id.in_(identifiers), Calibration.job_id.in_(identifiers))
    return session.execute(_visible(viewer).where(meant)).all()


def listing(
    session: Session, viewer: Viewer, *, model: str | None, labels: Labels, limit: int, before: tuple[datetime, str] | None
) -> Sequence[Found]:
    """Returns a page of calibrations that the viewer may see, newest first; `model` and `labels` filter it (None: all).

    `before` is the `(created_at, id)` of the last entry of the previous page.
    """
    statement = _visible(viewer).where(*made_with(Calibration.job_id, labels))
    statement = statement.order_by(Calibration.created_at.desc(), Calibration.id.desc()).limit(limit)
    if model is not None:
        statement = statement.where(Calibration.model == model)
    if before is not None:
        statement = statement.where(tuple_(Calibration.created_at, Calibration.id) < before)
    return session.execute(statement).all()


def present() -> ColumnElement[bool]:
    """Returns the condition that a calibration was made by the current default rule and schema; the query must join `Job`.

    Other calibrations are used only by requests that name them.
    """
    schema = Job.result["calibration", "schema_version"].as_integer()
    return and_(Calibration.massive_dims["rule"].astext == DEFAULT_RULE, schema == SCHEMA_VERSION)


def _as_made() -> ColumnElement[bool]:
    """Returns the condition that a calibration reads at least as much as a calibration that the service makes by itself: the shipped prompts,
    and answers of that length.
    """
    return and_(Job.spec["prompts"].astext.is_(None), Job.spec["max_new_tokens"].as_integer() >= MAX_NEW_TOKENS)


@settled
def newest(session: Session, viewer: Viewer, model: str, weight_hash: str, reading_hash: str) -> Calibration | None:
    """Returns the newest `present` calibration over all layers of these weights, read in this way (`reading_hash`), that the viewer may see.

    A calibration of another user counts only if it is `_as_made`, so that a quick trial does not decide the doses of all users.
    """
    statement = select(Calibration).where(
        Calibration.model == model, Calibration.weight_hash == weight_hash, Calibration.reading_hash == reading_hash
    )
    statement = statement.join(Job, Job.id == Calibration.job_id).where(present(), Job.spec["layers"].astext.is_(None))
    statement = statement.where(
        func.coalesce(Job.spec["special_tokens"].astext, SPECIAL_TOKENS) == SPECIAL_TOKENS,
        or_(Job.owner == viewer.owner, _as_made()),
    )
    statement = statement.where(made_by_visible(Calibration.job_id, viewer))
    return session.scalars(statement.order_by(Calibration.created_at.desc(), Calibration.id.desc()).limit(1)).one_or_none()


@settled
def tokens_and_seconds(session: Session, model: str) -> list[tuple[float, float]]:
    """Returns (tokens to generate, device seconds) of the model's last ten successful calibrations, to estimate the time of the next."""
    tokens = Job.spec["max_new_tokens"].as_integer() * Job.result["calibration", "n_prompts"].as_integer()
    last = (
        select(tokens, Job.device_seconds)
        .where(Job.kind == "calibrate", Job.model == model, Job.state == State.SUCCEEDED)
        .order_by(Job.created_at.desc())
        .limit(10)
    )
    return [(size, seconds) for size, seconds in session.execute(last) if size is not None]
