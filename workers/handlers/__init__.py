"""Handlers by kind of job, as `module:function`, imported only in the child that runs them (they import torch)."""

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from workers.job import Handler

HANDLERS = {
    "calibrate": "workers.handlers.calibration:run",
    "download": "workers.handlers.download:run",
    "export": "workers.handlers.export:run",
    "extract": "workers.handlers.extraction:run",
    "inspect": "workers.handlers.inspection:run",
    "prove": "workers.handlers.proving:run",
    "report": "workers.handlers.report:run",
    "generate": "workers.handlers.generation:run",
    "rescore": "workers.handlers.rescore:run",
    "steer": "workers.handlers.steering:run",
}


def handler_for(kind: str) -> "Handler":
    """The handler of a kind. Raises KeyError for a kind this worker does not know."""
    module, function = HANDLERS[kind].split(":")
    return cast("Handler", getattr(import_module(module), function))
