"""The one Celery task: a bell rang, so look for a job and run it. Its argument list is empty: a bell stands for no job."""

import structlog

from app.jobs.bell import TASK
from workers.celery_app import app

log = structlog.get_logger(__name__)


@app.task(name=TASK, ignore_result=True)
def answer() -> None:
    """Claims one job at most, runs it, and rings on. Lets no exception out: a MemoryError that left it would kill Celery's parent."""
    from workers.process import this_process
    from workers.runner import run_next

    try:
        run_next(this_process())
    except Exception as error:
        log.exception("doorbell.failed", error=type(error).__name__)
