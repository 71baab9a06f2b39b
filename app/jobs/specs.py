"""The specs of stored jobs as their kinds' types: the one place that says which type a job's JSON is of."""

from typing import Protocol, cast

from terms.specs import ExtractionSpec, GenerationSpec, RescoringSpec, SteeringSpec
from terms.values import JsonObject


class Specified(Protocol):
    """A job, as its row or as the API shows it."""

    @property
    def kind(self) -> str: ...
    @property
    def spec(self) -> JsonObject: ...


def extraction_spec(job: Specified) -> ExtractionSpec:
    """Of a job of kind `extract`."""
    assert job.kind == "extract", job.kind
    return cast(ExtractionSpec, job.spec)


def steering_spec(job: Specified) -> SteeringSpec:
    """Of a job of kind `steer`."""
    assert job.kind == "steer", job.kind
    return cast(SteeringSpec, job.spec)


def scored_spec(job: Specified) -> SteeringSpec | RescoringSpec:
    """Of a job that leaves a steering."""
    assert job.kind in ("steer", "rescore"), job.kind
    return cast(RescoringSpec, job.spec) if job.kind == "rescore" else steering_spec(job)


def generation_spec(job: Specified) -> GenerationSpec:
    """Of a job of kind `generate`."""
    assert job.kind == "generate", job.kind
    return cast(GenerationSpec, job.spec)
