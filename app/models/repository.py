"""Every statement about models."""

from collections.abc import Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.calibrations.models import Calibration
from app.jobs.models import Job, Worker
from app.jobs.states import FINISHED
from app.models.models import Model


def find(session: Session, name: str, *, lock: bool = False) -> Model | None:
    """The model of that name; `lock` keeps others from changing it until the transaction ends."""
    return session.get(Model, name, with_for_update=lock)


def names(session: Session) -> Sequence[str]:
    """The names that a submission may use: all but those whose files are at fault."""
    return session.scalars(select(Model.name).where(Model.state != "faulty").order_by(Model.name)).all()


def listing(session: Session, *, limit: int, after: str | None) -> Sequence[Model]:
    """By name; `after` is the last name of the page before."""
    statement = select(Model).order_by(Model.name).limit(limit)
    return session.scalars(statement if after is None else statement.where(Model.name > after)).all()


def model_workers(session: Session) -> Sequence[Worker]:
    """The worker nodes that load models, as they last described themselves."""
    return session.scalars(select(Worker).where(Worker.job_class == "model").order_by(Worker.id)).all()


def has_calibrations(session: Session, name: str) -> bool:
    """Whether a calibration refers to the model."""
    return bool(session.scalar(select(exists().where(Calibration.model == name))))


def has_unfinished_jobs(session: Session, name: str) -> bool:
    """Whether a job that is not over names the model."""
    return bool(session.scalar(select(exists().where(Job.model == name, Job.state.not_in(list(FINISHED))))))
