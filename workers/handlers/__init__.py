"""Handlers by kind of job, as `module:function`. They import torch, so they are imported only in the child that runs them."""

import sys
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
    """Returns the handler of a kind. Raises KeyError for a kind that this worker does not know."""
    # Imported here so that HANDLERS can be read where the package `app` is not installed; handler_for itself needs it.
    from app.collector import still

    module, function = HANDLERS[kind].split(":")
    first = not sys.modules.keys() & {module, "torch"}  # later there may be tensors among the garbage
    with still(keep=first):
        return cast("Handler", getattr(import_module(module), function))
