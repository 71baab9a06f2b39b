"""Reading a job: entity tags, and long polls that hold no connection while they wait and wake at once."""

import asyncio
import threading
import time
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from app.jobs import claims, waiting
from app.jobs.claims import Reached
from app.jobs.waiting import Wakeups, Watch
from tests.api.conftest import Running, submit
from tests.api.lives import claim, fail


class Look(threading.Thread):
    """A long poll in a thread of its own: `response`, and when it was `answered`."""

    def __init__(self, client: httpx2.Client, path: str, **headers: str) -> None:
        super().__init__()
        self._ask = lambda: client.get(path, headers=headers)
        self.start()

    def run(self) -> None:
        self.response = self._ask()
        self.answered = time.monotonic()


def wait_until(true: Any) -> None:
    """Waits at most a minute until `true()` is true."""
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends, "it did not happen within a minute"
        time.sleep(0.01)


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll of all watched jobs comes only after 200 s, so that what wakes a request sooner is its notification."""
    monkeypatch.setattr(waiting, "POLL", 200.0)


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> set[Watch]:
    """The watches of requests that have begun to wait. A request is watched before it reads its job, and waits only afterwards."""
    begun: set[Watch] = set()
    wait = Watch.wait

    async def noted(watch: Watch, seconds: float) -> bool:
        begun.add(watch)
        return await wait(watch, seconds)

    monkeypatch.setattr(Watch, "wait", noted)
    return begun


def test_the_entity_tag_stands_for_the_body(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    path = submit(ada)["links"]["self"]
    first = ada.get(path)
    tag = first.headers["ETag"]
    same = ada.get(path, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert int(same.headers["Retry-After"]) > 0
    assert ada.get(path, headers={"If-None-Match": f'"other", W/{tag}'}).status_code == 304
    claim(sessions)
    changed = ada.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["state"], changed.json()["attempt"]) == (200, "running", 1)
    assert changed.headers["ETag"] != tag


def test_a_finished_job_has_no_retry_after(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    path = submit(ada)["links"]["self"]
    fail(sessions, claim(sessions))
    response = ada.get(f"{path}?wait=25")
    assert "Retry-After" not in response.headers
    assert (response.json()["state"], response.json()["error"]["code"]) == ("failed", "broken")


@pytest.mark.own_application
def test_each_kind_of_change_wakes_a_long_poll_by_its_notification(
    seldom: None, api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], asleep: set[Watch]
) -> None:
    """Without the notification the answer would come after 50 s, or 200 s."""
    wait_until(api.context.part(Wakeups).listening.is_set)
    path = submit(ada)["links"]["self"]
    lease: Any = None

    def start() -> None:
        nonlocal lease
        lease = claim(sessions)

    def phase() -> None:
        with sessions.begin() as session:
            columns = {"phase": "generating", "progress_total": 50, "progress_unit": "prompts"}
            claims.report(session, lease.job.id, lease.token, Reached([("phase", {"phase": "generating"})], columns))

    def progress() -> None:
        with sessions.begin() as session:
            claims.report(session, lease.job.id, lease.token, Reached(values={"progress_done": 7}))

    for change, seen in (
        (start, lambda job: job["state"] == "running"),
        (phase, lambda job: job["phase"] == "generating"),
        (progress, lambda job: job["progress"] == {"done": 7, "total": 50, "unit": "prompts"}),
        (lambda: fail(sessions, lease), lambda job: job["state"] == "failed"),
    ):
        known = ada.get(path).headers["ETag"]
        asleep.clear()
        look = Look(ada, f"{path}?wait=50", **{"If-None-Match": known})
        wait_until(lambda: len(asleep) == 1)
        change()
        changed = time.monotonic()
        look.join(120)
        assert look.response.status_code == 200
        assert seen(look.response.json())
        assert look.answered - changed < 20


@pytest.mark.own_application
def test_a_long_poll_for_the_end_sleeps_through_other_changes(
    seldom: None, api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Without the notification of the end the answer would come after 50 s."""
    wait_until(api.context.part(Wakeups).listening.is_set)
    path = submit(ada)["links"]["self"]
    look = Look(ada, f"{path}?wait=50&until=end", **{"If-None-Match": '"outdated"'})
    wait_until(lambda: api.context.part(Wakeups).watched() == 1)
    lease = claim(sessions)
    look.join(1)
    assert look.is_alive()
    fail(sessions, lease)
    ended = time.monotonic()
    look.join(120)
    assert look.response.json()["state"] == "failed"
    assert look.answered - ended < 20
    assert ada.get(f"{path}?wait=50&until=end").json()["state"] == "failed", "a job that is over is answered at once"
    assert ada.get(f"{path}?wait=20&until=lunch").status_code == 422


def test_a_long_poll_hears_that_its_job_moved_up_in_the_queue(
    ada: httpx2.Client, sessions: sessionmaker[Session], asleep: set[Watch]
) -> None:
    """No notification is about this job; the poll of all watched jobs sees its place change."""
    first, second = submit(ada), submit(ada)
    assert (first["queue_position"], second["queue_position"]) == (1, 2)
    look = Look(ada, f"{second['links']['self']}?wait=50")
    wait_until(lambda: len(asleep) == 1)
    claim(sessions)
    moved = time.monotonic()
    look.join(120)
    assert look.response.json()["queue_position"] == 1
    assert look.answered - moved < 35, "at its own end it would be answered after 50 s"


def test_a_long_poll_that_sees_nothing_answers_at_its_end(ada: httpx2.Client) -> None:
    path = submit(ada)["links"]["self"]
    started = time.monotonic()
    known = ada.get(path).headers["ETag"]
    assert ada.get(f"{path}?wait=0.5", headers={"If-None-Match": known}).status_code == 304
    assert ada.get(f"{path}?wait=0.5").status_code == 200
    assert 1 <= time.monotonic() - started < 40, "without its own end it would wait for a minute"


def test_a_client_with_an_outdated_tag_is_answered_at_once(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    """What changed between two polls must not be waited for again."""
    path = submit(ada)["links"]["self"]
    known = ada.get(path).headers["ETag"]
    claim(sessions)
    started = time.monotonic()
    assert ada.get(f"{path}?wait=50", headers={"If-None-Match": known}).json()["state"] == "running"
    assert time.monotonic() - started < 25, "a wait would take 50 s"


def test_five_hundred_waiting_requests_hold_no_connection_and_all_wake(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], asleep: set[Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.context.settings.limit, "wait_seconds", 500.0)  # the first must still wait when the last begins
    path = submit(ada)["links"]["self"]
    headers = {"Authorization": ada.headers["Authorization"]}

    def connections() -> int:
        with sessions() as session:
            busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            return session.scalar(text(busy + " AND (state <> 'idle' OR query LIKE 'LISTEN%')")) or 0

    async def crowd() -> tuple[list[httpx2.Response], float, int]:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=api.url, headers=headers, timeout=500, limits=limits) as client:
            looks = [asyncio.create_task(client.get(f"{path}?wait=500")) for _ in range(500)]
            while len(asleep) < 500:  # noqa: ASYNC110 - another thread counts them
                await asyncio.sleep(0.1)
            held = min([await asyncio.to_thread(connections) for _ in range(10)])
            lease = await asyncio.to_thread(claim, sessions)
            changed = time.monotonic()
            answers = await asyncio.gather(*looks)
            assert lease.job.id in path
            return answers, time.monotonic() - changed, held

    answers, seconds, held = asyncio.run(crowd())
    assert held == 1  # the one that listens
    assert {answer.json()["state"] for answer in answers} == {"running"}
    assert seconds < 250  # requests that were not woken would be answered later
    wait_until(lambda: api.context.part(Wakeups).watched() == 0)


@pytest.mark.own_application
def test_the_listener_comes_back_after_its_connection_was_cut(
    seldom: None, api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], asleep: set[Watch]
) -> None:
    wait_until(api.context.part(Wakeups).listening.is_set)
    with sessions.begin() as session:
        session.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'binnacle listener'")
        )
    path = submit(ada)["links"]["self"]
    wait_until(api.context.part(Wakeups).listening.is_set)
    look = Look(ada, f"{path}?wait=50")
    wait_until(lambda: len(asleep) == 1)
    claim(sessions)
    changed = time.monotonic()
    look.join(120)
    assert look.response.json()["state"] == "running"
    assert look.answered - changed < 20
