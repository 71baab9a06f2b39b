"""Builds the HTTP application; opens all its parts and closes them together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import app.accounts.audit_routes
import app.accounts.group_routes
import app.accounts.key_routes
import app.accounts.user_routes
import app.calibrations.routes
import app.deletion.routes
import app.exports.routes
import app.extractions.import_routes
import app.extractions.routes
import app.extractions.vector_routes
import app.generations.routes
import app.jobs.routes
import app.judges.routes
import app.models.routes
import app.offering.routes
import app.pages.actions
import app.pages.answer_pages
import app.pages.home
import app.pages.jobs
import app.pages.label_pages
import app.pages.library.fleet
import app.pages.library.models
import app.pages.library.traits
import app.pages.library.vectors
import app.pages.new_job
import app.pages.reference
import app.pages.sign_in
import app.pages.ticket_routes
import app.pages.trying.routes
import app.quotas.routes
import app.quotas.usage_routes
import app.retention.routes
import app.status.device_routes
import app.status.routes
import app.steerings.routes
import app.studies.routes
import app.traits.routes
import app.webhooks.routes
from app.auth.keyring import Keyring
from app.bell import Bell
from app.db import AsyncDatabase
from app.http import problems
from app.http.context import Context
from app.http.cursors import Cursors
from app.http.description import describe
from app.http.gate import Gate
from app.http.uploading import Uploads
from app.jobs.reading import Reader
from app.jobs.waiting import Wakeups
from app.observability import route_logs
from app.planner import Planner
from app.quotas.admission import check_full
from app.settings import Settings
from app.status.health import Health
from app.status.metrics import Metrics
from app.storage.factory import open_storage
from app.traits.seeding import seed_at_start
from app.webhooks.messenger import Messenger
from binnacle.version import VERSION

ROUTERS = (
    app.jobs.routes.router,
    app.calibrations.routes.router,
    app.status.device_routes.router,
    app.exports.routes.router,
    app.exports.routes.of_calibrations,
    app.steerings.routes.router,
    app.generations.routes.router,
    app.studies.routes.router,
    app.extractions.routes.router,
    app.extractions.vector_routes.router,
    app.extractions.import_routes.router,
    app.judges.routes.router,
    app.models.routes.router,
    app.traits.routes.router,
    app.quotas.routes.router,
    app.quotas.usage_routes.router,
    app.accounts.user_routes.own_router,
    app.accounts.user_routes.router,
    app.accounts.group_routes.router,
    app.accounts.key_routes.router,
    app.accounts.audit_routes.router,
    app.webhooks.routes.router,
    app.deletion.routes.router,
    app.retention.routes.router,
    app.status.routes.router,
    app.offering.routes.router,
    app.pages.ticket_routes.router,
    app.pages.sign_in.router,
    app.pages.reference.router,
    app.pages.home.router,
    app.pages.jobs.router,
    app.pages.actions.router,
    app.pages.new_job.router,
    app.pages.answer_pages.router,
    app.pages.label_pages.router,
    app.pages.trying.routes.router,
    app.pages.library.fleet.router,
    app.pages.library.models.router,
    app.pages.library.traits.router,
    app.pages.library.vectors.router,
)
TAGS = [
    {
        "name": "calibrations",
        "description": "Which residual dimensions of a model are massive, where, and their share of the norm",
    },
    {"name": "extractions", "description": "Vectors of a trait by several methods, with what each is made of"},
    {"name": "vectors", "description": "Single vectors: find, download, import"},
    {"name": "steerings", "description": "How much each dose of each vector changes the answers"},
    {"name": "generations", "description": "Answers to a few prompts, with vectors or without"},
    {"name": "studies", "description": "Models x traits x methods in one request, ending in a report"},
    {"name": "devices", "description": "Worker nodes: pause or drain them to share a card with notebooks"},
    {"name": "jobs", "description": "Jobs of every kind"},
    {"name": "judges", "description": "Judges score answers: how much of a trait they show, and how coherent they are"},
    {"name": "models", "description": "Models that jobs can use"},
    {"name": "traits", "description": "Datasets of prompts that show a trait and prompts that do not, and questions to steer on"},
    {"name": "access", "description": "Keys, users, groups and the audit; for administrators"},
    {"name": "quotas", "description": "Limits on each user's jobs, device time and storage, and their use"},
    {"name": "webhooks", "description": "Webhooks: notify chat rooms and programs when a job ends"},
    {"name": "deletion", "description": "Delete finished jobs with their results, imported vectors and traits"},
    {"name": "retention", "description": "Remove old results; for administrators"},
    {"name": "health", "description": "Health, workers and the queue"},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Returns the application. Nothing is opened before its lifespan begins. Raises ValueError for unsafe settings."""
    route_logs()
    settings = settings or Settings()
    metrics = Metrics(VERSION)

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        if settings.auth == "on" and not settings.key_pepper.get_secret_value():
            raise ValueError(
                "BINNACLE_KEY_PEPPER is empty: set it to 32 or more random characters and keep it; with another value no existing key is valid"
            )
        async with opened(settings, metrics) as context:
            api.state.context = context
            yield

    api = FastAPI(
        title="Binnacle", version=VERSION, lifespan=lifespan, openapi_tags=TAGS, openapi_url=None, docs_url=None, redoc_url=None
    )
    problems.install(api)
    api.add_middleware(
        Gate,
        limits=settings.limit,
        auth=settings.auth == "on",
        observe=metrics.observe,
    )
    for router in ROUTERS:
        api.router.routes.extend(router.routes)  # `include_router` would build the routes again in every process at its start
    api.openapi = lambda: describe(api)  # type: ignore[method-assign]
    return api


@asynccontextmanager
async def opened(settings: Settings, metrics: Metrics) -> AsyncIterator[Context]:
    """Opens the parts of an application and closes them in reverse order. The database and the broker may still be unavailable."""
    url = settings.database_url.get_secret_value()
    pepper = settings.key_pepper.get_secret_value()
    bell = Bell(settings)
    database = AsyncDatabase(url, connections=settings.database.api_connections, bell=bell)
    uploads = Uploads(settings, database, check_full)
    planner = Planner(url, patience=settings.limit.turn_seconds, bell=bell)
    wakeups = Wakeups(url, database, slice_seconds=settings.lease.slice)
    storage = open_storage(settings.storage_url.get_secret_value())
    messenger = Messenger(database, settings)
    reader = Reader(database, slice_seconds=settings.lease.slice)
    parts = (wakeups, reader, Health(settings, database, storage), messenger)
    context = Context(
        settings=settings,
        database=database,
        planner=planner,
        uploads=uploads,
        storage=storage,
        keyring=Keyring(database, pepper),
        cursors=Cursors(settings.cursor_secret.get_secret_value() or pepper),
        parts={type(part): part for part in parts},
    )
    wakeups.start()
    metrics.serve(settings.metrics_port, url, wakeups.watched)
    seeding = None
    try:
        seeding = await seed_at_start(context)
        messenger.start()
        yield context
    finally:
        if seeding is not None:
            seeding.cancel()
        await messenger.close()
        metrics.close()
        await wakeups.close()
        planner.close()
        uploads.close()
        await database.close()
        bell.close()
