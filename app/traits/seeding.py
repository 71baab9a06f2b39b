"""Adds the shipped traits to the database when an API process starts. Any number of processes may do this at once."""

import asyncio
from functools import cache

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.auth.sharing import Sharing
from app.auth.viewer import Viewer
from app.http.context import Context
from app.storage.base import StorageError
from app.traits import files, repository
from app.traits.dataset import Dataset, build
from app.traits.routes import store
from shipped import CHAT_TRAIT_NAMES, TRAIT_NAMES, trait_folder

log = structlog.get_logger()

OWNER = Viewer("binnacle", "admin")
FIRST_TRY = 5.0
"""Seconds that the start waits for the first try; the API starts even if the database cannot be reached."""
AGAIN = 5.0
"""Seconds between later tries."""


@cache
def shipped_datasets() -> tuple[Dataset, ...]:
    """Returns the datasets of the shipped folders."""
    datasets = []
    for name in TRAIT_NAMES + CHAT_TRAIT_NAMES:
        folder = files.read(name, {path.name: path.read_bytes() for path in sorted(trait_folder(name).iterdir())})
        datasets.append(build(folder.request, folder.notes))
    return tuple(datasets)


async def seed(context: Context) -> None:
    """Adds the shipped traits that are missing in these versions, for everyone. Traits that are there stay as they are, and the new version of a
    trait that an administrator took from everyone is private.

    Raises SQLAlchemyError, StorageError or OSError if the database or the storage cannot be reached, and Problem 429 over a quota.
    """
    for dataset in await asyncio.to_thread(shipped_datasets):
        there = await context.database.read(repository.visibilities, OWNER.owner, dataset.name)
        if dataset.version not in there:
            for_all = next(iter(there.values()), "public") == "public"
            await store(context, dataset, OWNER, Sharing(visibility="public" if for_all else "private"))


async def seed_at_start(context: Context) -> asyncio.Task[None] | None:
    """Seeds once. If the database or the storage fails, returns a task that tries again until it succeeds; the caller cancels the task when the
    context closes.
    """
    try:
        async with asyncio.timeout(FIRST_TRY):
            await seed(context)
    except (SQLAlchemyError, StorageError, TimeoutError, OSError) as error:
        log.warning("shipped_traits_wait", why=type(error).__name__)
        return asyncio.create_task(_until_seeded(context))
    return None


async def _until_seeded(context: Context) -> None:
    while True:
        await asyncio.sleep(AGAIN)
        try:
            await seed(context)
        except (SQLAlchemyError, StorageError, OSError):
            continue
        log.info("shipped_traits_are_there")
        return
