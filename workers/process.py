"""The child process of a worker node: its engine, storage, models and name, made once and kept between jobs."""

import os
import signal
import threading
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from app.db import make_engine, make_sessions
from app.jobs.bell import Bell
from app.jobs.kinds import handler_versions
from app.jobs.models import Worker
from app.settings import Settings, get_settings
from app.storage.base import Storage
from app.storage.factory import open_storage
from workers.capacity import capacity
from workers.keeper import Keeper
from workers.lanes import ShortLane

if TYPE_CHECKING:
    from workers.shelf import Shelf


@dataclass
class WorkerProcess:
    """What every job in this child shares. `draining` is set when the node is told to stop: the job goes back to the queue."""

    settings: Settings
    worker_id: str
    job_class: str
    sessions: sessionmaker[Session]
    storage: Storage
    bell: Bell
    versions: dict[str, int]
    short_lane: ShortLane
    draining: threading.Event = field(default_factory=threading.Event)
    shelf: "Shelf | None" = None
    keeper: Keeper = field(init=False)

    def __post_init__(self) -> None:
        self.keeper = Keeper(self)

    def models(self) -> "Shelf":
        """The models this child keeps loaded; torch is imported here, when the first job needs one."""
        if self.shelf is None:
            from workers.shelf import Shelf

            self.shelf = Shelf(self.settings, self.sessions)
        return self.shelf

    @cached_property
    def capacity(self) -> dict[str, Any]:
        """What this child could hold at most; nothing on a node that loads no models."""
        return capacity(self.settings) if self.job_class == "model" else {}

    def loaded(self) -> list[str]:
        """Names of the models loaded now."""
        return self.shelf.names() if self.shelf is not None else []

    def describe(self, session: Session) -> None:
        """Writes what this child holds into its node's row, for schedulers and status pages."""
        memory = (self.shelf.memory() if self.shelf is not None else {}) | self.capacity
        session.execute(update(Worker).where(Worker.id == self.worker_id).values(models=self.loaded(), memory=memory))


@lru_cache
def this_process() -> WorkerProcess:
    """The one of this process. Also makes SIGUSR2, which the parent sends when the node is to stop, mean draining."""
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
        short_lane=ShortLane(settings.lease.slice),
    )
    process.keeper.start()
    signal.signal(signal.SIGUSR2, lambda _signal, _frame: process.draining.set())
    return process
