"""Describes how a request would run on its model, for its estimate: the engine, and the memory of a row on each worker."""

from typing import TypedDict

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.models import fitting, repository
from app.models.engine import EngineOut, engine_of
from app.models.models import Model


class RunningOut(BaseModel):
    """The part of an estimate that depends on the model."""

    engine: EngineOut | None = Field(
        None, description="what the model's text is generated on; null before the model is inspected"
    )
    memory: list[fitting.FitOut] | None = Field(
        None,
        description="the weights and the shortest row of the request on each model worker; null before the model is inspected",
    )


class Running(TypedDict):
    """The fields of `RunningOut`, as `running` returns them."""

    engine: EngineOut | None
    memory: list[fitting.FitOut] | None


def check_fits(session: Session, model: Model, new_tokens: int) -> None:
    """Raises Problem 422 `does_not_fit` if no worker can hold the model and one row of `new_tokens`."""
    if model.state == "ready":
        fitting.check_fits(model.name, model.facts, repository.model_workers(session), new_tokens)


def running(session: Session, model: Model, new_tokens: int) -> Running:
    """Returns the fields of `RunningOut`."""
    known = model.state == "ready" and "n_parameters" in model.facts
    memory = fitting.fits(model.facts, repository.model_workers(session), new_tokens) if known else None
    return {"engine": engine_of(model.facts), "memory": memory}
