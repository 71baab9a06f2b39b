"""Whether a model's weights fit the workers' devices: number of parameters times bytes per parameter."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from app.devices.models import Worker
from binnacle.words.sizes import gib

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a parameter, by dtype."""


class FitOut(BaseModel):
    """The weights on one worker's device. What a batch needs comes on top and is planned by each job."""

    worker: str
    device: str
    dtype: str
    weights_bytes: int
    limit_bytes: int = Field(description="the worker's memory budget for models, or its device's memory if that is less")
    fits: bool
    arithmetic: str


def sizes(parameters: int) -> dict[str, int]:
    """Bytes of the weights by the dtype they are loaded in."""
    return {dtype: parameters * width for dtype, width in WIDTHS.items()}


def fits(parameters: int, workers: Sequence[Worker]) -> list[FitOut]:
    """One entry per model worker that has said what it can hold."""
    return [_fit(parameters, worker) for worker in workers if {"budget", "dtype"} <= worker.memory.keys()]


def _fit(parameters: int, worker: Worker) -> FitOut:
    dtype = worker.memory["dtype"]
    need = sizes(parameters)[dtype]
    budget = worker.memory["budget"]
    limit = min(budget, worker.memory.get("device_total", budget))
    limit_of = "its budget for models" if limit == budget else "its device's memory"
    arithmetic = f"{parameters:,} parameters x {WIDTHS[dtype]} bytes ({dtype}) = {gib(need)}; {limit_of} is {gib(limit)}"
    return FitOut(
        worker=worker.id,
        device=worker.device,
        dtype=dtype,
        weights_bytes=need,
        limit_bytes=limit,
        fits=need <= limit,
        arithmetic=arithmetic,
    )
