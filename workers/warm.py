"""Imports torch in a node's child: with its first job, or a while after its start."""

import os
import sys
import threading

from app.collector import still

SECONDS = 10.0
"""The import takes 5 to 10 s of one core, which the API and the other nodes need at that time to become ready."""


def import_later() -> None:
    """Imports torch and the handlers that need a model once SECONDS have passed, in a thread; does nothing on a node that loads no models."""
    if os.environ.get("BINNACLE_WORKER_CLASS") == "model":
        timer = threading.Timer(SECONDS, import_models)
        timer.name, timer.daemon = "warm", True
        timer.start()


def import_models() -> None:
    """Imports torch and the handlers of jobs that use a model, so that these jobs import nothing when they start."""
    from workers.handlers import handler_for

    with still(keep="torch" not in sys.modules):
        import workers.shelf  # noqa: F401
    for kind in ("calibrate", "generate", "extract", "steer"):
        handler_for(kind)
