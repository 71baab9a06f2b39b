"""A child's thread beside and between jobs: hears that its device is held, and puts models away that nobody asks for any more."""

import threading
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.devices import repository

if TYPE_CHECKING:
    from workers.process import WorkerProcess

log = structlog.get_logger(__name__)


class Keeper:
    """`mode` is what the node was told as of the last look: `paused`, `draining` or None."""

    def __init__(self, process: "WorkerProcess") -> None:
        self._process = process
        self._idle_seconds = process.settings.model_idle_minutes * 60
        self.mode: str | None = None

    def start(self) -> None:
        """Looks until the process ends."""
        threading.Thread(target=self._run, name="keeper", daemon=True).start()

    def _run(self) -> None:
        tick = max(0.05, min(self._process.settings.lease.watch, self._idle_seconds / 4))
        pause = threading.Event()
        while not pause.wait(tick):
            try:
                self._listen()
                self._tidy()
            except Exception:  # a bug here must not leave a device's memory full for ever
                log.exception("keeper.failed")

    def _listen(self) -> None:
        try:
            with self._process.sessions() as session:
                mode = repository.mode_of(session, self._process.worker_id)
        except SQLAlchemyError:
            return  # what was said last holds
        if mode != self.mode:
            log.info("device.held" if mode else "device.resumed", mode=mode)
        self.mode = mode

    def _tidy(self) -> None:
        """Puts idle models away; all of them while the device is held, so that its memory is free for whoever asked."""
        shelf = self._process.shelf
        if shelf is None or not shelf.put_away(0 if self.mode else self._idle_seconds):
            return
        try:
            with self._process.sessions.begin() as session:
                self._process.describe(session)
        except SQLAlchemyError:
            log.warning("keeper.undescribed")  # the next job's heartbeat says it
