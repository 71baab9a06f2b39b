"""The child process of a worker node: holds its database engine, storage, models and name, made once and kept between jobs."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, TypedDict

import structlog
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.bell import Bell
from app.collector import still
from app.db import make_engine, make_sessions, reading
from app.devices import repository as devices
from app.devices.models import Worker
from app.jobs.kinds import handler_versions
from app.settings import Settings, get_settings
from app.storage.base import Storage
from app.storage.factory import open_storage
from workers.capacity import capacity
from workers.lanes import GenerationsFirst

if TYPE_CHECKING:
    from workers.shelf import Shelf

DESCRIBED_SECONDS = 60.0
"""Seconds after which a child writes its state again, because the node's row may have been replaced."""

log = structlog.get_logger(__name__)


class Held(TypedDict):
    """What a child holds, as columns of its node's row: names of models, and facts about its memory."""

    models: list[str]
    memory: dict[str, int | str]


class Keeper:
    """A thread that runs during and between jobs: notices when the device is paused or drained, and unloads models that were idle for long.

    `mode` is the node's mode at the last check: `paused`, `draining` or None.
    """

    def __init__(self, process: "WorkerProcess") -> None:
        self._process = process
        self._idle_seconds = process.settings.model_idle_minutes * 60
        self.mode: str | None = None

    def start(self) -> None:
        """Checks until the process ends."""
        threading.Thread(target=self._run, name="keeper", daemon=True).start()

    def _run(self) -> None:
        tick = max(0.05, min(self._process.settings.lease.watch, self._idle_seconds / 4))
        pause = threading.Event()
        while not pause.wait(tick):
            try:
                self._listen()
                self._tidy()
            except Exception:  # a bug here must not leave models in the device's memory forever
                log.exception("keeper.failed")

    def _listen(self) -> None:
        try:
            with self._process.reads() as session:
                mode = devices.mode_of(session, self._process.worker_id)
        except SQLAlchemyError:
            return  # the last known mode stays
        if mode != self.mode:
            log.info("device.held" if mode else "device.resumed", mode=mode)
        self.mode = mode

    def _tidy(self) -> None:
        """Unloads idle models; all models while the device is held, so that its memory is free for the holder."""
        shelf = self._process.shelf
        if shelf is None or not shelf.put_away(0 if self.mode else self._idle_seconds):
            return
        try:
            with self._process.sessions.begin() as session:
                self._process.describe(session)
        except SQLAlchemyError:
            log.warning("keeper.undescribed")  # the next job's heartbeat writes it


@dataclass
class WorkerProcess:
    """The objects that every job in this child shares. `draining` is set when the node is stopping: the job then returns to the queue."""

    settings: Settings
    worker_id: str
    job_class: str
    sessions: sessionmaker[Session]
    storage: Storage
    bell: Bell
    versions: dict[str, int]
    generations: GenerationsFirst
    draining: threading.Event = field(default_factory=threading.Event)
    shelf: "Shelf | None" = None
    keeper: Keeper = field(init=False)
    _described: tuple[float, Held | None] = (0.0, None)

    def __post_init__(self) -> None:
        self.keeper = Keeper(self)
        self.reads = reading(self.sessions)

    def models(self) -> "Shelf":
        """The models this child keeps loaded; torch is imported here, when the first job needs one."""
        if self.shelf is None:
            with still(keep="torch" not in sys.modules):
                from workers.shelf import Shelf

            self.shelf = Shelf(self.settings, self.sessions)
        return self.shelf

    @cached_property
    def capacity(self) -> dict[str, int | str]:
        """The largest amount of memory that this child could use; empty on a node that loads no models."""
        return capacity(self.settings) if self.job_class == "model" else {}

    def loaded(self) -> list[str]:
        """Names of the models loaded now."""
        return self.shelf.names() if self.shelf is not None else []

    def describe(self, session: Session) -> None:
        """Writes the child's models and memory into its node's row, for schedulers and status pages."""
        held = self._held()
        session.execute(update(Worker).where(Worker.id == self.worker_id).values(**held))
        self._described = time.monotonic(), held

    def described(self) -> bool:
        """Whether the current state was written a short time ago."""
        at, held = self._described
        return time.monotonic() - at < DESCRIBED_SECONDS and held == self._held()

    def _held(self) -> Held:
        return {"models": self.loaded(), "memory": {**(self.shelf.memory() if self.shelf is not None else {}), **self.capacity}}


@lru_cache
def this_process() -> WorkerProcess:
    """The `WorkerProcess` of this child, made once. Also handles SIGUSR2, by which the parent tells the child to drain because the node is
    stopping."""
    settings = get_settings()
    bell = Bell(settings)
    process = WorkerProcess(
        settings=settings,
        worker_id=os.environ["BINNACLE_WORKER_ID"],  # set by the parent before it spawned this child
        job_class=os.environ["BINNACLE_WORKER_CLASS"],
        sessions=make_sessions(
            make_engine(settings.database_url.get_secret_value(), pool_size=settings.database.worker_connections), bell=bell
        ),
        storage=open_storage(settings.storage_url.get_secret_value()),
        bell=bell,
        versions=handler_versions(),
        generations=GenerationsFirst(settings.lease.slice),
    )
    process.keeper.start()
    signal.signal(signal.SIGUSR2, lambda _signal, _frame: process.draining.set())
    return process
