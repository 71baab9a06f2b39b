"""Notifies workers that jobs may be ready. A bell names no job, so lost bells only delay jobs.

A transaction that makes a job claimable calls `ring_after_commit`; the session's bell rings once it has committed. A worker that claims a
job rings on if more is ready, so one bell is enough to start with; the relay in every worker's parent mends what is lost.
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

log = structlog.get_logger(__name__)


def celery_app(settings: Settings) -> Celery:
    """The Celery application of both sides: the same broker, queues and transport options. Knows no task."""
    app = Celery("binnacle", broker=settings.broker_url.get_secret_value())
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_queues=[
            Queue(name, no_ack=True) for name in CLASSES
        ],  # nothing is written to take a bell: a full broker can give it
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
    """Rings the workers of a class through the broker, over one connection that is kept. Never raises: the relay finds what is lost."""

    def __init__(self, settings: Settings) -> None:
        self._app = celery_app(settings)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bell")
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._soon: set[str] = set()

    def ring(self, job_class: str, pending: int = 1) -> bool:
        """Makes sure that `pending` bells wait for the class; blocks a few seconds at most. Whether the broker took it."""
        with self._lock:
            if self._connection is not None:  # it may have died since the last bell
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
        """The same from an event loop, without waiting. A bell that is still to be rung stands for all of its class."""
        if job_class not in self._soon:
            self._soon.add(job_class)
            self._thread.submit(self._ring_now, job_class)

    def close(self) -> None:
        """Lets the last bell go out."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._hang_up()
        self._app.close()

    def _ring_now(self, job_class: str) -> None:
        self._soon.discard(job_class)  # before it rings: what is committed from here on needs another
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
    """This transaction makes a job of the class claimable: ring when it has committed, not before, and not if it does not."""
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
