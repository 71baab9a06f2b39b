"""Sends the messages of the outbox, in a task of each API process. A message is sent at least once, and its id never changes."""

import asyncio
import random

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db import AsyncDatabase
from app.settings import Settings
from app.webhooks import repository
from app.webhooks.repository import Due
from app.webhooks.sending import Sender

AT_ONCE = 20
LONGEST_PAUSE = 12 * 3600.0

log = structlog.get_logger(__name__)


class Messenger:
    """Sends due webhook deliveries between `start()` and `close()`. A delivery that is interrupted is repeated later."""

    def __init__(self, database: AsyncDatabase, settings: Settings) -> None:
        self._database = database
        self._settings = settings.webhook
        self._sender = Sender(settings.key_pepper.get_secret_value(), settings.public_url, settings.webhook.timeout)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts sending, in a task of the running event loop."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Cancels the sending and waits until it has stopped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            sent = 0
            try:
                sent = await self._round()
            except (SQLAlchemyError, OSError) as error:
                log.warning("webhooks.wait", why=type(error).__name__)
            except Exception:  # a bug must not end the sending
                log.exception("webhooks.failed")
            if sent < AT_ONCE:
                await asyncio.sleep(self._settings.poll)

    async def _round(self) -> int:
        lease = 2 * self._settings.timeout + 30
        due = await self._database.run(repository.take_due, limit=AT_ONCE, lease_seconds=lease)
        await asyncio.gather(*(self._deliver(delivery) for delivery in due))
        return len(due)

    async def _deliver(self, due: Due) -> None:
        sent = await self._sender.send(due)
        last = sent.hopeless or due.attempt >= self._settings.attempts
        state = "delivered" if sent.delivered else "failed" if last else "pending"
        again_in = min(LONGEST_PAUSE, self._settings.backoff * 6.0 ** (due.attempt - 1)) * random.uniform(0.8, 1.2)
        await self._database.run(repository.settle, due, state=state, status=sent.status, error=sent.error, again_in=again_in)
        log.info("webhook.sent", delivery=due.id, attempt=due.attempt, state=state, status=sent.status)
