"""Imports torch in the child process of a worker node: SECONDS after its start, or earlier, with its first job."""

import os
import sys
import threading

from app.collector import still

SECONDS = 10.0
"""Delay of the import. It occupies one core for 5 to 10 s, which the API and the other nodes need first, to become ready."""


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
