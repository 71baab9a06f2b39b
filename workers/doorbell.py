"""The only Celery task: finds ready jobs in the database and runs them. It takes no arguments, because a notification names no job."""

import contextlib

import structlog
from celery import signals

from app.bell import TASK
from app.collector import still
from workers.celery_app import app
from workers.warm import import_later

log = structlog.get_logger(__name__)


@app.task(name=TASK, ignore_result=True)
def answer() -> None:
    """Runs jobs until none is ready, so that a job that becomes ready through another's end starts without another notification.

    Raises no exception, because a MemoryError that left this function would kill Celery's parent process.
    """
    try:
        with still():
            from workers.process import this_process
            from workers.runner import run_next

        process = this_process()
        while not process.draining.is_set() and run_next(process):
            pass
    except Exception as error:
        with contextlib.suppress(Exception):  # without memory, writing the traceback may fail too
            log.exception("doorbell.failed", error=type(error).__name__)


@signals.worker_process_init.connect
def _warm(**_: object) -> None:
    import_later()
