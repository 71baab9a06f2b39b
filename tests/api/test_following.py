"""A job's events: as pages, and as a stream that replays them and continues with new ones."""

import threading
import time
from typing import Any

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.jobs import claims
from app.jobs.claims import Reached
from app.jobs.waiting import Wakeups
from app.settings import Settings
from tests.api.conftest import Running, submit
from tests.api.lives import claim, fail
from tests.api.test_polling import wait_until

STREAM = {"Accept": "text/event-stream"}


def read_stream(client: httpx2.Client, path: str, **headers: str) -> tuple[list[httpx2.ServerSentEvent], float]:
    """All events until the server closes the stream, and the time of that."""
    with client.stream("GET", path, headers={**STREAM, **headers}) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        return list(httpx2.EventSource(response)), time.monotonic()


def run_to_failure(sessions: sessionmaker[Session], phases: int = 3) -> None:
    """Claims the next job, reports some phases and fails it."""
    lease = claim(sessions)
    for i in range(phases):
        with sessions.begin() as session:
            columns = {"phase": f"phase {i}", "progress_total": 1, "progress_unit": ""}
            claims.report(session, lease.job.id, lease.token, Reached([("phase", columns)], columns))
    fail(sessions, lease)


def test_pages_hold_the_whole_history_in_order(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    path = submit(ada)["links"]["events"]
    run_to_failure(sessions)
    whole = ada.get(path).json()
    assert [event["seq"] for event in whole["items"]] == [1, 2, 3, 4, 5, 6]
    assert [event["type"] for event in whole["items"]] == ["submitted", "started", "phase", "phase", "phase", "failed"]
    assert whole["next_cursor"] is None
    paged: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = ada.get(path, params={"after": after, "limit": 2}).json()
        paged += page["items"]
        after = page["next_cursor"]
    assert paged == whole["items"]


def test_a_stream_replays_from_the_last_event_id_and_closes_with_the_job(
    ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    path = submit(ada)["links"]["events"]
    run_to_failure(sessions)
    pages = ada.get(path).json()["items"]
    all_events, _ = read_stream(ada, path)
    assert [event.json() for event in all_events] == pages
    assert [(event.id, event.event) for event in all_events] == [(str(one["seq"]), one["type"]) for one in pages]
    later, _ = read_stream(ada, path, **{"Last-Event-ID": "4"})
    assert [event.json() for event in later] == pages[4:]
    assert read_stream(ada, path, **{"Last-Event-ID": "6"})[0] == []


def test_a_stream_goes_on_live_without_a_gap_or_a_repeat(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """It ends with the job, and not with its own ten minutes."""
    path = submit(ada)["links"]["events"]
    found: list[tuple[list[httpx2.ServerSentEvent], float]] = []
    reader = threading.Thread(target=lambda: found.append(read_stream(ada, path)))
    reader.start()
    wait_until(lambda: api.context.part(Wakeups).watched() == 1)
    run_to_failure(sessions, phases=30)
    ended = time.monotonic()
    reader.join(120)
    events, closed = found[0]
    assert [int(event.id or 0) for event in events] == list(range(1, 34))
    assert events[-1].event == "failed"
    assert closed - ended < 60


def test_a_stream_is_released_when_its_client_leaves(api: Running, ada: httpx2.Client) -> None:
    path = submit(ada)["links"]["events"]
    with ada.stream("GET", path, headers=STREAM) as response:
        lines = response.iter_lines()
        next(lines)
        wait_until(lambda: api.context.part(Wakeups).watched() == 1)
    wait_until(lambda: api.context.part(Wakeups).watched() == 0)


def test_a_quiet_stream_pings(ada: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies close connections on which nothing moves."""
    monkeypatch.setattr("app.jobs.streams.PING", 0.2)
    path = submit(ada)["links"]["events"]
    with ada.stream("GET", path, headers=STREAM) as response:
        lines = response.iter_lines()
        while next(lines) != ": ping":
            pass


@pytest.fixture
def short_streams(settings: Settings) -> None:
    settings.limit.stream_seconds = 0.5


@pytest.mark.usefixtures("short_streams")
def test_a_stream_ends_with_the_event_number_to_continue_from(api: Running, ada: httpx2.Client) -> None:
    path = submit(ada)["links"]["events"]
    events, _ = read_stream(ada, path)
    assert [(event.event, event.json().get("after")) for event in events][-1] == ("reconnect", 1)
    assert events[-1].retry == 1000


def test_stopping_the_server_ends_streams_and_waits_at_once(api: Running, ada: httpx2.Client) -> None:
    path = submit(ada)["links"]["events"]
    found: list[tuple[list[httpx2.ServerSentEvent], float]] = []
    reader = threading.Thread(target=lambda: found.append(read_stream(ada, path)))
    reader.start()
    wait_until(lambda: api.context.part(Wakeups).watched() == 1)
    stopped = time.monotonic()
    api.context.part(Wakeups).release()
    reader.join(120)
    events, closed = found[0]
    assert events[-1].event == "reconnect"
    assert closed - stopped < 60, "it would go on for ten minutes"


def test_another_persons_history_is_not_found(api: Running, ada: httpx2.Client) -> None:
    path = submit(ada)["links"]["events"]
    with api.client("bob") as bob:
        assert bob.get(path).status_code == 404
        assert bob.get(path, headers=STREAM).status_code == 404
