"""The specs of stored jobs: with the types of their kinds, which only this module assigns, and their hashes."""

import hashlib
import json
from typing import Protocol, cast

from terms.specs import ExtractionSpec, GenerationSpec, OnAModel, ReportSpec, RescoringSpec, Spec, SteeringSpec
from terms.values import JsonObject

MAKE_STEERINGS = ("steer", "rescore")
"""Kinds of jobs that produce a steering."""


class Specified(Protocol):
    """A job, either as its database row or as the API shows it."""

    @property
    def kind(self) -> str: ...
    @property
    def spec(self) -> JsonObject: ...


def spec_hash(kind: str, spec: Spec | JsonObject) -> str:
    """Returns the SHA-256 of the canonical spec: equal hashes mean the same calculation."""
    canonical = json.dumps({"kind": kind, "spec": spec}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def as_json(spec: Spec | JsonObject) -> JsonObject:
    """Returns the spec as the JSON object that is stored, without copying it."""
    return cast(JsonObject, spec)


def model_spec(job: Specified) -> OnAModel | None:
    """Returns the keys that specs of jobs that use a model share; None for other jobs."""
    return cast(OnAModel, job.spec) if "weight_hash" in job.spec else None


def extraction_spec(job: Specified) -> ExtractionSpec:
    """Returns the spec of a job of kind `extract`."""
    assert job.kind == "extract", job.kind
    return cast(ExtractionSpec, job.spec)


def steering_spec(job: Specified) -> SteeringSpec:
    """Returns the spec of a job of kind `steer`."""
    assert job.kind == "steer", job.kind
    return cast(SteeringSpec, job.spec)


def scored_spec(job: Specified) -> SteeringSpec | RescoringSpec:
    """Returns the spec of a job that produces a steering: of kind `steer`, or a rescore."""
    assert job.kind in MAKE_STEERINGS, job.kind
    return cast(RescoringSpec, job.spec) if job.kind == "rescore" else steering_spec(job)


def generation_spec(job: Specified) -> GenerationSpec:
    """Returns the spec of a job of kind `generate`."""
    assert job.kind == "generate", job.kind
    return cast(GenerationSpec, job.spec)


def report_spec(job: Specified) -> ReportSpec:
    """Returns the spec of a job of kind `report`."""
    assert job.kind == "report", job.kind
    return cast(ReportSpec, job.spec)
