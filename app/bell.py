"""Notifies workers that jobs may be ready. A bell is a message that names no job, so a lost bell only delays jobs.

A transaction that makes a job claimable calls `ring_after_commit`; the session's bell rings after the commit. A worker that claims a job
rings again if more jobs are ready, so one bell is enough at first. The reconciler in every worker's parent process replaces lost bells.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog
from celery import Celery
from kombu import Connection, Queue
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from app.settings import Settings

CLASSES = ("model", "light")
TASK = "workers.doorbell.answer"

SECONDS = 2
"""How long a bell waits for the broker's answer; it tries twice."""

log = structlog.get_logger(__name__)


def celery_app(settings: Settings) -> Celery:
    """Returns the Celery application that the API and the workers share: broker, queues and transport options. Registers no task."""
    app = Celery("binnacle", broker=settings.broker_url.get_secret_value())
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_queues=[
            Queue(name, no_ack=True) for name in CLASSES
        ],  # without acknowledgements, taking a bell writes nothing, so it works even when the broker is full
        task_create_missing_queues=False,
        task_publish_retry=False,
        broker_connection_timeout=2,
        broker_pool_limit=2,
        broker_transport_options={
            "global_keyprefix": settings.broker_prefix,
            "socket_timeout": 15,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "visibility_timeout": 3600,
        },
    )
    return app


class Bell:
    """Rings the workers of a class through the broker, over one persistent connection. Never raises: the reconciler replaces lost bells."""

    def __init__(self, settings: Settings) -> None:
        self._app = celery_app(settings)
        self._app.conf.broker_transport_options["socket_timeout"] = SECONDS  # longer only for those that wait for messages
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bell")
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._soon: set[str] = set()

    def ring(self, job_class: str, pending: int = 1) -> bool:
        """Ensures that `pending` bells wait for the class; blocks a few seconds at most. Returns whether the broker accepted them."""
        with self._lock:
            if self._connection is not None:  # the connection may have died since the last bell
                with suppress(Exception):
                    self._ring(self._connection, job_class, pending)
                    return True
                self._hang_up()
            try:
                self._connection = self._app.connection_for_write()
                self._ring(self._connection, job_class, pending)
            except Exception as error:
                self._hang_up()
                log.warning("bell.unheard", job_class=job_class, error=type(error).__name__)
                return False
            return True

    def ring_soon(self, job_class: str) -> None:
        """Rings from an event loop without waiting. A bell that has not rung yet covers later calls for the same class."""
        if job_class not in self._soon:
            self._soon.add(job_class)
            self._thread.submit(self._ring_now, job_class)

    def close(self) -> None:
        """Waits for the bell that is ringing, then disconnects."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._hang_up()
        self._app.close()

    def _ring_now(self, job_class: str) -> None:
        self._soon.discard(job_class)  # before ringing: a job committed from now on needs another bell
        self.ring(job_class)

    def _ring(self, connection: Connection, job_class: str, pending: int) -> None:
        missing = pending - connection.default_channel.client.llen(job_class)
        for _ in range(missing):
            self._app.send_task(TASK, queue=job_class, connection=connection)

    def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._connection.release()
            self._connection = None


def ring_after_commit(session: Session, job_class: str) -> None:
    """Rings for the class once this transaction has committed; a rolled-back transaction does not ring. Call it when a job becomes claimable."""
    session.info.setdefault("ring", set()).add(job_class)


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    classes = session.info.pop("ring", ())
    bell: Bell | None = session.info.get("bell")
    if bell is not None:
        for job_class in classes:
            bell.ring_soon(job_class)


@event.listens_for(Session, "after_soft_rollback")
def _rolled_back(session: Session, _previous: SessionTransaction) -> None:
    session.info.pop("ring", None)
