"""The long suite, 5: a full broker, a database with few connections, studies cancelled under load, a storm of uploads."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psycopg
import pytest
import redis

import binnacle
from app.embedded.broker import Broker, connect
from app.embedded.postgres import Postgres
from shipped import MODELS
from tests.chaos.arena import Arena, NodePlan
from tests.chaos.campaign import Campaign
from tests.chaos.graphs import plant
from tests.chaos.ledger import Ledger

pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(600)]
TINY = sorted(path.name for path in MODELS.iterdir() if path.is_dir())[0]
NARROW = 24
"""Connections of the narrow role: two nodes and the API need about twenty when they are busy (docs/operating.md)."""


def test_broker_full(ledger: Ledger, own_broker: Broker) -> None:
    """It answers pings but accepts no notification: workers find jobs because they look at the database by themselves."""
    arena = Arena(environment={"BROKER_URL": own_broker.url})
    try:
        campaign = Campaign(arena, ledger, "broker full")
        for _ in range(5):
            with connect(own_broker.url) as client:
                client.config_set("maxmemory", "1")
                with pytest.raises(redis.OutOfMemoryError):
                    client.set("full", "1")
                first = campaign.submit(1, steps=2, seconds=0.1)[0]
                strike = campaign.strike("start", first)
                campaign.submit(15, steps=2, seconds=0.1)
                campaign.recovered(strike, seconds=30)
                arena.until(lambda: campaign.ended() == len(campaign.told), 60, "jobs to run without bells")
                client.config_set("maxmemory", "0")
        campaign.finish(60, note="nothing is rung while it lasts; recovery is to the start of the first job submitted meanwhile")
    finally:
        arena.close()


def test_few_connections(ledger: Ledger, own_postgres: Postgres) -> None:
    """Another program of the same role takes every connection for twenty seconds; those of the service are cut first."""
    arena = Arena(environment={"DATABASE_URL": _narrow(own_postgres)})
    try:
        campaign = Campaign(arena, ledger, "a role with few connections, all taken for 20 s")
        for _ in range(3):
            campaign.submit(30, steps=4, seconds=0.2)
            arena.victim(campaign.title)
            with _all_connections(own_postgres, arena.running.database_url):
                with httpx2.Client(base_url=arena.up.url, headers={"Authorization": f"Bearer {arena.up.key}"}, timeout=60) as api:
                    answer = api.get("/v1/jobs?limit=1")
                time.sleep(20)  # the length of the shortage that the title names
            assert (answer.status_code, "connections" in answer.text) == (503, True), "the answer says what is short"
            campaign.recovered(campaign.strike())
        campaign.finish(180, note=f"the role may have {NARROW} connections")
    finally:
        arena.close()


def _narrow(postgres: Postgres) -> str:
    """The URL of a database of a role with few connections."""
    with postgres.connect() as connection:
        connection.execute(f"CREATE ROLE narrow LOGIN PASSWORD 'narrow' CONNECTION LIMIT {NARROW}")
        connection.execute("CREATE DATABASE narrow OWNER narrow")
    return "postgresql+psycopg://narrow:narrow@/narrow?" + postgres.url.split("?", maxsplit=1)[1]


@contextlib.contextmanager
def _all_connections(postgres: Postgres, url: str) -> Iterator[None]:
    """Cuts the connections of the role that `url` names, and takes every one that it may have."""
    over, full = threading.Event(), threading.Event()
    plain = url.replace("+psycopg", "", 1)

    def take() -> None:
        with contextlib.ExitStack() as held, postgres.connect() as ruler:
            ours: list[int] = []
            while not over.is_set():
                try:
                    ours.append(held.enter_context(psycopg.connect(plain, connect_timeout=2)).info.backend_pid)
                except psycopg.OperationalError:
                    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'narrow' AND pid <> ALL(%s)"
                    if not ruler.execute(cut, [ours]).fetchall():
                        full.set()
                    over.wait(0.02)

    with ThreadPoolExecutor(1) as thread:
        taking = thread.submit(take)
        try:
            assert full.wait(30), "the role still has a connection left"
            yield
        finally:
            over.set()
            taking.result(30)


def test_study_cancelled(ledger: Ledger) -> None:
    """Studies are cancelled over HTTP while two worker nodes finish some of their jobs and release others."""
    arena = Arena()
    try:
        campaign = Campaign(arena, ledger, "studies cancelled under load")
        with httpx2.Client(base_url=arena.up.url, headers={"Authorization": f"Bearer {arena.up.key}"}, timeout=30) as api:
            for _ in range(8):
                with arena.session() as session, session.begin():
                    job, nodes = plant(session, campaign.title, "ann", nodes=40, seconds=0.01)
                campaign.told += [job, *nodes]
                arena.until(lambda nodes=nodes: _ended(arena, nodes) >= 4, 60, "the study to be under way")
                strike = campaign.strike("end", job)
                answer = api.post(f"/v1/jobs/{job}/cancel")
                assert answer.status_code == 202, answer.text
                campaign.recovered(strike)
                states = arena.sql("SELECT id, state FROM jobs WHERE id = ANY(%s)", nodes)
                campaign.cancelled |= {row["id"] for row in states if row["state"] == "cancelled"}
        campaign.finish(
            120, note="recovery is from the request to the end of the study's own Job, which still reports on what finished"
        )
        assert len(campaign.cancelled) >= 8
    finally:
        arena.close()


def _ended(arena: Arena, jobs: list[str]) -> int:
    return int(arena.sql("SELECT count(*) AS n FROM jobs WHERE id = ANY(%s) AND state = 'succeeded'", jobs)[0]["n"])


def test_upload_storm(ledger: Ledger) -> None:
    """Eight uploads at a time, each as costly as the limits allow, delay neither submissions nor reads by others for long."""
    arena = Arena([NodePlan("model-0"), NodePlan("light-0")])
    try:
        campaign = Campaign(arena, ledger, "a storm of uploads")
        with binnacle.Client(arena.up.url, arena.up.key) as client, _reading(arena) as waits:
            if TINY not in {model["name"] for model in client.models()}:
                client.add_model(TINY, str(MODELS / TINY))
            client.await_model(TINY, timeout=120)
            for n in range(3):
                with _uploading(arena, f"storm{n}", count=8) as answers:
                    strike = campaign.strike("submission")
                    for _ in range(4):
                        made = client.calibrate(TINY, prompts=["tell me about boats ."], max_new_tokens=4, name=campaign.title)
                        campaign.told.append(made["id"])
                    campaign.recovered(strike)
                assert {answer.status_code for answer in answers} <= {201, 413, 429}, [answer.text[:300] for answer in answers]
        campaign.finish(180, note=f"meanwhile the slowest of {len(waits)} reads by a colleague took {max(waits):.1f} s")
        assert max(waits) < 10
    finally:
        arena.close()


@contextlib.contextmanager
def _reading(arena: Arena) -> Iterator[list[float]]:
    """A colleague who reads the list of jobs and downloads a file, ten times a second; seconds per pair."""
    over, waits = threading.Event(), [0.0]

    def read() -> None:
        with httpx2.Client(base_url=arena.up.url, headers={"Authorization": f"Bearer {arena.up.key}"}, timeout=120) as api:
            while not over.wait(0.1):
                began = time.monotonic()
                answers = [api.get(path) for path in ("/v1/jobs?limit=5", "/v1/traits/refusal/dataset.json")]
                waits.append(time.monotonic() - began)
                assert [answer.status_code for answer in answers] == [200, 200], [answer.text[:300] for answer in answers]

    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(read)
        try:
            yield waits
        finally:
            over.set()
            reading.result(90)


@contextlib.contextmanager
def _uploading(arena: Arena, name: str, count: int) -> Iterator[list[httpx2.Response]]:
    """Sends `count` uploads at once; the list holds their answers when the block has been left."""
    answers: list[httpx2.Response] = []
    content = {side: _unique_words(1_900, side) for side in ("positive", "negative")}

    def upload(number: int) -> httpx2.Response:
        files = [("files", (f"{side}.txt", text)) for side, text in content.items()]
        files.append(("files", ("definition.txt", f"a trait of the storm, {number}".encode())))
        files.append(("files", ("steering.json", b'{"questions": ["what do you see ?", "who goes there ?"]}')))
        headers = {"Authorization": f"Bearer {arena.up.key}"}
        return httpx2.post(
            f"{arena.up.url}/v1/traits", data={"name": f"{name}-{number}"}, files=files, headers=headers, timeout=300
        )

    with ThreadPoolExecutor(count) as threads:
        under_way = [threads.submit(upload, number) for number in range(count)]
        yield answers
        answers += [one.result(300) for one in under_way]


def _unique_words(prompts: int, side: str) -> bytes:
    """Prompts of a kilobyte that share no word with each other: the most work for the search for near-duplicates."""
    numbers = itertools.count()
    lines: list[str] = [" ".join(f"{side[0]}{next(numbers):07}" for _ in range(110)) for _ in range(prompts)]
    return "\n".join(lines).encode()
