"""When a node's child imports torch: with its first job, or a while after its start."""

import os
import threading

SECONDS = 10.0
"""The import takes 5 to 10 s of one core, which the API and the other nodes need at that time to become ready."""


def import_later() -> None:
    """Imports torch and what calibrates once SECONDS have passed, in a thread; does nothing on a node that loads no models."""
    if os.environ.get("BINNACLE_WORKER_CLASS") == "model":
        timer = threading.Timer(SECONDS, import_models)
        timer.name, timer.daemon = "warm", True
        timer.start()


def import_models() -> None:
    """Imports torch and the handler of most first jobs; a job that came before has done so."""
    import workers.handlers.calibration
    import workers.shelf  # noqa: F401
