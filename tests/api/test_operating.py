"""What an operator sees: health, status, metrics, logs; and what a user sees when something breaks."""

import asyncio
from collections.abc import Iterator

import httpx2
import pytest
from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from app.db import make_engine, make_sessions
from app.embedded.postgres import Postgres
from app.main import create_app
from app.observability import redact
from app.settings import Settings
from tests.api.conftest import Running, submit
from tests.api.lives import claim, succeed
from tests.api.test_polling import wait_until

pytestmark = pytest.mark.own_application


@pytest.fixture
def nobody(api: Running) -> Iterator[httpx2.Client]:
    """A client without a key."""
    with httpx2.Client(base_url=api.url, timeout=120) as client:
        yield client


def test_a_whole_service_is_alive_and_ready(nobody: httpx2.Client) -> None:
    assert nobody.get("/livez").json() == {"status": "alive"}
    ready = nobody.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert all(check["ok"] for check in ready.json()["checks"].values())


def test_a_database_at_an_older_revision_is_unready(nobody: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    ready = nobody.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "unready")
    assert "the database is at 0001" in ready.json()["checks"]["migrations"]["detail"]


@pytest.fixture
def no_broker(settings: Settings, unused_port: int) -> None:
    """A broker that does not answer."""
    settings.broker_url = type(settings.broker_url)(f"redis://127.0.0.1:{unused_port}/0")


@pytest.mark.usefixtures("no_broker")
def test_without_the_broker_the_service_is_degraded_and_takes_and_cancels_jobs(
    nobody: httpx2.Client, api: Running, ada: httpx2.Client
) -> None:
    """The database is the queue; bells only wake workers sooner."""
    ready = nobody.get("/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["checks"]["broker"]["ok"]) == (200, "degraded", False)
    job = submit(ada)
    assert ada.get("/v1/status").json()["broker"]["ok"] is False
    assert ada.post(job["links"]["cancel"]).json()["state"] == "cancelled"


def test_a_database_that_is_away_is_answered_503_with_retry_after(own_postgres: Postgres, settings: Settings) -> None:
    """The server stays up and serves again once the database does, without a restart."""
    engine = make_engine(own_postgres.url)
    moved = settings.model_copy(update={"database_url": type(settings.database_url)(own_postgres.url)})
    running = Running(moved, make_sessions(engine))
    running.start()
    try:
        running.add_model()
        with running.client() as client:
            own_postgres.stop()
            away = client.get("/v1/jobs")
            assert (away.status_code, away.json()["code"], away.headers["Retry-After"]) == (503, "database_unavailable", "5")
            assert client.get("/livez").status_code == 200
            assert client.get("/readyz").json()["status"] == "unready"
            own_postgres.start()
            wait_until(lambda: client.get("/v1/jobs").status_code == 200)
            submit(client)
    finally:
        running.stop()
        engine.dispose()


def test_the_board_shows_workers_and_queues_and_hides_names(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    held = submit(ada)["id"]
    queued = submit(ada)["id"]
    submit(ada, after=[{"job": queued}])
    claim(sessions)
    board = ada.get("/v1/status").json()
    [worker] = board["workers"]
    assert (worker["device"], worker["busy_with"], worker["alive"]) == ("cpu", held, True)
    [queue] = board["queues"]
    assert (queue["job_class"], queue["model"], queue["queued"], queue["waiting"], queue["running"]) == ("model", "demo", 1, 1, 1)
    assert board["auth"] == "on"
    [next_one, after] = board["waiting"]
    assert (next_one["job"], next_one["queue_position"], next_one["waits_because"]["code"]) == (queued, 1, "workers_busy")
    assert (after["queue_position"], after["waits_because"]["code"]) == (None, "after_jobs")
    with api.client("bob") as bob:
        others = bob.get("/v1/status").json()
        assert (others["workers"][0]["busy_with"], others["waiting"]) == ("another", [])


def test_a_worker_that_holds_a_job_of_its_predecessor_is_listed_once(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    """After the restore of a backup, the job that ran during it is held until its lease ends."""
    ids = {submit(ada)["id"], submit(ada)["id"]}
    claim(sessions)
    [first] = ada.get("/v1/status").json()["workers"]
    claim(sessions)
    [worker] = ada.get("/v1/status").json()["workers"]
    assert {first["busy_with"], worker["busy_with"]} == ids
    [device] = ada.get("/v1/devices").json()["items"]
    assert device["busy_with"] == worker["busy_with"]


@pytest.fixture
def metrics_port(settings: Settings, unused_port: int) -> int:
    """The port of the metrics."""
    settings.metrics_port = unused_port
    return unused_port


def test_metrics_count_by_class_and_route_and_name_no_user_or_job(
    metrics_port: int, api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    job = submit(ada)["id"]
    submit(ada)
    succeed(sessions, api.context.storage, claim(sessions))
    ada.get(f"/v1/jobs/{job}")
    ada.get("/v1/no/such/thing")
    page = httpx2.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=120).text
    assert 'binnacle_jobs{job_class="model",state="queued"} 1.0' in page
    assert 'binnacle_jobs_finished{kind="calibrate",state="succeeded"} 1.0' in page
    assert 'binnacle_request_seconds_count{method="GET",route="/v1/jobs/{job_id}",status="200"} 1.0' in page
    assert 'route="unmatched",status="404"' in page
    assert job not in page
    assert "ada" not in page
    assert ada.get("/metrics").status_code == 404  # on the internal port alone


def test_an_unexpected_error_names_its_request_and_no_internals(settings: Settings) -> None:
    api = create_app(settings)
    broken = APIRouter()

    @broken.get("/broken")
    async def fail() -> None:
        raise RuntimeError("the inside")

    api.include_router(broken)

    async def ask() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(api), base_url="http://x", timeout=120) as client:
            return await client.get("/broken")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert answer.json()["request_id"] in answer.json()["detail"]
    assert "inside" not in answer.text
    assert "Traceback" not in answer.text


def test_secrets_are_hidden_wherever_they_stand() -> None:
    key = "bnk_12345678_" + "a" * 38
    event = {"authorization": "x", "event": f"got {key}!", "url": "postgresql://bob:hunter2@db/x", "prompts": ["p"], "n": 3}
    assert redact(None, "info", event) == {
        "authorization": "[hidden]",
        "event": "got [hidden]!",
        "url": "postgresql://[hidden]@db/x",
        "prompts": "[hidden]",
        "n": 3,
    }
