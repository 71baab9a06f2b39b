"""Lets idle nodes poll for jobs, because notifications may be lost.

A thread of the node's parent queries the database and passes a ready job to Celery as if a notification had arrived, so that Celery's record of
its child's work stays right. Without a connection to the broker Celery starts no tasks, and the notification waits until there is a connection.
"""

import threading

import structlog
from celery.utils import uuid
from celery.worker import WorkController, state
from kombu import Message
from kombu.serialization import dumps
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.bell import TASK
from app.jobs import repository
from app.settings import LeaseSettings

log = structlog.get_logger(__name__)


class Looking:
    """`controller` is Celery's WorkController, `worker` the node's id and class; `stop` ends the thread."""

    def __init__(
        self,
        controller: WorkController,
        sessions: sessionmaker[Session],
        settings: LeaseSettings,
        worker: tuple[str, str],
        stop: threading.Event,
    ) -> None:
        self._controller = controller
        self._sessions = sessions
        self._settings = settings
        self._worker = worker
        self._stop = stop

    def start(self) -> None:
        """Starts the thread."""
        threading.Thread(target=self._run, name="looking", daemon=True).start()

    def _run(self) -> None:
        """Polls every few seconds; less often while the same job is ready and this node may not run it (a quota, a newer version)."""
        pause, before = self._settings.look, None
        while not self._stop.wait(pause):
            try:
                job = None if state.reserved_requests else self._ready()
                if job is not None:
                    self._controller.consumer.hub.call_soon(self._ring)
            except (SQLAlchemyError, OSError) as error:
                log.warning("look.missed", error=type(error).__name__)
            except Exception:  # a bug must not end the polling
                log.exception("look.failed")
            else:
                again = job is not None and job == before
                pause = min(2 * pause, max(pause, self._settings.sweep)) if again else self._settings.look
                before = job

    def _ready(self) -> str | None:
        with self._sessions() as session:
            return repository.ready_for(session, *self._worker)

    def _ring(self) -> None:
        """Passes a notification to Celery's loop without a broker, unless a real one arrived meanwhile."""
        if state.reserved_requests:
            return
        consumer = self._controller.consumer
        made = consumer.app.amqp.as_task_v2(uuid(), TASK)
        content_type, encoding, body = dumps(made.body, serializer="json")
        message = Message(
            body=body, content_type=content_type, content_encoding=encoding, headers=made.headers, properties=made.properties,
            delivery_info={}, accept={content_type},
        )  # fmt: skip
        consumer.strategies[TASK](message, None, _nothing, _nothing, [])


def _nothing(*_: object) -> None:
    """Does nothing: no broker waits for the acknowledgement of this notification."""
