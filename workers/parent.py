"""A worker node's parent process: registers the node, watches its child, runs the reconciler, drains the node when it stops.

Connected to Celery's signals; runs in the parent process, which never imports torch.
"""

import os
import re
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import structlog
from celery import signals
from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app import chores
from app.bell import Bell
from app.db import make_engine, make_sessions
from app.devices.models import Worker
from app.retention import service as retention
from app.settings import Settings, get_settings
from app.storage.base import StorageError
from app.storage.blobs import adopt_orphans, collect
from app.storage.factory import open_storage
from app.storage.space import shortage
from binnacle.version import VERSION
from terms.values import Json
from workers.capacity import capacity
from workers.looking import Looking
from workers.names import is_ours, is_taken, ours, unless_living
from workers.reconciler import Reconciler
from workers.watch import Watch

if TYPE_CHECKING:
    from celery.worker import WorkController
    from celery.worker.consumer import Consumer

HOUR = 3600.0
DAY = 24 * HOUR

log = structlog.get_logger(__name__)


class Parent:
    """One node's parent. `controller` is Celery's WorkController."""

    def __init__(self, controller: "WorkController", settings: Settings) -> None:
        self._controller = controller
        self._settings = settings
        self._bell = Bell(settings)
        self._sessions: sessionmaker[Session] = make_sessions(
            make_engine(settings.database_url.get_secret_value(), pool_size=settings.database.parent_connections), bell=self._bell
        )
        self._stop = threading.Event()
        self._named = False
        self._refused = False
        self.worker_id = os.environ["BINNACLE_WORKER_ID"]
        self.watch = Watch(self._sessions, settings.lease, self.worker_id, self.child_pids, lambda: shortage(settings))

    def start(self) -> None:
        """Registers the node and starts the watch, the polling and the reconciler."""
        self.watch.start()
        node = (self.worker_id, os.environ["BINNACLE_WORKER_CLASS"])
        Looking(self._controller, self._sessions, self._settings.lease, node, self._stop).start()
        threading.Thread(target=self._sweep_loop, name="reconciler", daemon=True).start()
        threading.Thread(target=self._tidy_loop, name="janitor", daemon=True).start()

    def child_pids(self) -> set[int]:
        """The pids of the living child processes of this node's pool."""
        pool = getattr(self._controller.pool, "_pool", None)
        return {child.pid for child in list(getattr(pool, "_pool", ())) if child.is_alive()}

    def drain(self) -> None:
        """Tells the child to return its job to the queue at the next boundary; the watch stops a child that does not respond."""
        self.watch.drain()
        for pid in self.child_pids():
            os.kill(pid, signal.SIGUSR2)

    def leave(self) -> None:
        """Releases the jobs of a child that had to be killed, and removes the node's row, unless another node of the same name owns it."""
        self._stop.set()
        if self._refused:
            return
        self.watch.last_look()
        self.watch.stop()
        try:
            with self._sessions.begin() as session:
                session.execute(delete(Worker).where(ours(self.worker_id)))
        except SQLAlchemyError:
            log.warning("worker.left_silently")
        self._bell.close()

    def _registered(self) -> bool:
        """Whether the row belongs to this process. After a crash it belongs to another; after a restore of the database or a day of silence it
        is missing."""
        with self._sessions() as session:
            worker = session.get(Worker, self.worker_id)
            return worker is not None and is_ours(worker)

    def _register(self) -> None:
        job_class = os.environ["BINNACLE_WORKER_CLASS"]
        row: dict[str, Json] = {
            "job_class": job_class,
            "device": self._settings.device if job_class == "model" else "none",
            "memory": capacity(self._settings) if job_class == "model" else {},
            "host": socket.gethostname(),
            "parent_pid": os.getpid(),
            "version": VERSION,
        }
        rounds = 3 if self._named else 1.25  # a starting node has looked for a round
        statement = insert(Worker).values(id=self.worker_id, **row)
        statement = statement.on_conflict_do_update(
            index_elements=["id"],
            set_={**row, "seen_at": func.now(), "started_at": func.now(), "models": []},
            where=unless_living(self._settings.lease, rounds=rounds),
        )
        with self._sessions.begin() as session:
            self._named = session.scalar(statement.returning(Worker.id)) is not None
        if not self._named:
            self._leave_it_to_the_twin()

    def _leave_it_to_the_twin(self) -> None:
        """Stops this node: another of the same name registered first, or took the name while this node was suspended."""
        log.error("name.taken", worker=self.worker_id, hint="give this host another name: binnacle worker --name, or celery's -n")
        self._refused = True
        self._stop.set()
        self.watch.stop()
        os.kill(os.getpid(), signal.SIGTERM)

    def _sweep_loop(self) -> None:
        reconciler = Reconciler(self._sessions, self._bell, self._settings.lease)
        while True:
            try:
                if not self._named or not self._registered():
                    self._register()
                reconciler.sweep()
            except (SQLAlchemyError, OSError) as error:
                log.warning("sweep.missed", error=type(error).__name__)
                reconciler.disconnected()
            except Exception:  # a bug must not end this loop
                log.exception("sweep.failed")
            if self._stop.wait(self._settings.lease.sweep):
                return

    def _tidy_loop(self) -> None:
        """Removes unreferenced bytes hourly, and objects without a row, which only a crash leaves, daily. Only one node at a time does this."""
        while not self._stop.wait(HOUR):
            try:
                if not self._takes("tidy", HOUR):
                    continue
                storage = open_storage(self._settings.storage_url.get_secret_value())
                self._remove_old_results()
                self._forget_history()
                collected = collect(self._sessions, storage)
                orphans = adopt_orphans(self._sessions, storage) if self._takes("adopt", DAY) else 0
                log.info("storage.tidied", objects=collected.objects, bytes=collected.bytes, orphans=orphans)
            except (SQLAlchemyError, StorageError) as error:
                log.warning("storage.untidy", error=str(error))
            except Exception:  # a bug must not end this loop
                log.exception("storage.untidy")

    def _takes(self, chore: str, every_seconds: float) -> bool:
        with self._sessions.begin() as session:
            return chores.taken(session, chore, every_seconds=every_seconds)

    def _remove_old_results(self) -> None:
        """Removes old results if an operator set BINNACLE_RETENTION_DAYS."""
        if self._settings.retention_days:
            told = retention.remove(self._sessions, self._settings.retention_days, retention.ITSELF)
            log.info("results.removed", jobs=told.jobs, bytes=told.bytes)

    def _forget_history(self) -> None:
        """Deletes old history according to the settings, which are off unless an operator set them."""
        from app.retention import history  # imported here because it imports much and is needed once an hour

        log.info("history.forgotten", **history.forget(self._sessions, self._settings.retention))


_parent: Parent | None = None


@signals.celeryd_init.connect
def _named(sender: str, **_: Any) -> None:
    os.environ["BINNACLE_WORKER_ID"] = sender  # the node's name; its children inherit it
    settings = get_settings()
    engine = make_engine(settings.database_url.get_secret_value(), pool_size=1)
    if is_taken(make_sessions(engine), sender, settings.lease):
        raise SystemExit(f"Another node runs as {sender}. Give this host another name: binnacle worker --name, or celery's -n.")
    engine.dispose()


@signals.worker_process_init.connect
def _not_draining_yet(**_: Any) -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # the default action would end a child that has had no job yet


@signals.worker_ready.connect
def _ready(sender: "Consumer", **_: Any) -> None:
    global _parent  # noqa: PLW0603 - Celery's signals know no other place for it
    _parent = Parent(sender.controller, get_settings())
    _parent.start()


@signals.worker_shutting_down.connect
def _stopping(**_: Any) -> None:
    if _parent is not None:
        _parent.drain()


@signals.worker_shutdown.connect
def _stopped(**_: Any) -> None:
    if _parent is not None:
        _parent.leave()


@signals.task_failure.connect
def _child_lost(exception: BaseException | None = None, **_: Any) -> None:
    match = re.search(r"(signal \d+ \(\w+\)|exitcode -?\d+)", str(exception))
    if _parent is not None:
        _parent.watch.child_lost(match[1] if match else "unknown")
