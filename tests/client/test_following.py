"""`wait` and `events` see every change of a job, survive restarts and broken connections, and end with the job."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from binnacle import Client, JobFailed, Unreachable, WaitTimeout, following
from binnacle.connection import Connection
from tests.api import lives
from tests.api.conftest import Running
from tests.api.test_polling import wait_until
from tests.client.wire import Wire, cut_after

Sessions = sessionmaker[Session]


def run_through(api: Running, sessions: Sessions) -> list[Callable[[], object]]:
    """Two steps: a worker claims the next job, and finishes it with success."""
    leases: list[Any] = []
    return [
        lambda: leases.append(lives.claim(sessions)),
        lambda: lives.succeed(sessions, api.context.storage, leases[0]),
    ]


def test_waiting_shows_each_state_and_returns_the_finished_job(
    client: Client, api: Running, sessions: Sessions, meanwhile: Callable[..., None]
) -> None:
    """The worker claims the job once it was seen queued, and finishes it once it was seen running."""
    job = client.calibrate("demo")
    states: list[str] = []
    claims, finishes = run_through(api, sessions)
    meanwhile(lambda: wait_until(lambda: "queued" in states), claims, lambda: wait_until(lambda: "running" in states), finishes)
    finished = client.wait(job, timeout=60, on_change=lambda now: states.append(now["state"]))
    assert list(dict.fromkeys(states)) == ["queued", "running", "succeeded"]
    assert finished["artifacts"][0]["name"] == "calibration.json"


def test_waiting_for_the_end_takes_one_request(
    client: Client, api: Running, sessions: Sessions, meanwhile: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `on_change`, changes before the end must not end the long poll: each new request costs a dozen database queries."""
    job = client.calibrate("demo")
    asked: list[str] = []
    ask = client._connection.request
    monkeypatch.setattr(client._connection, "request", lambda *about, **more: asked.append(about[1]) or ask(*about, **more))
    meanwhile(*run_through(api, sessions))
    assert client.wait(job, timeout=60)["state"] == "succeeded"
    assert len(asked) == 1, asked


def test_waiting_outlives_a_restart_of_the_service(
    far: Client, wire: Wire, api: Running, sessions: Sessions, meanwhile: Callable[..., None]
) -> None:
    """The service goes away during a long poll and a second one, on another port, takes its place."""
    job = far.calibrate("demo")
    second = Running(api.settings, sessions)

    def goes_away() -> None:
        wire.upstream = None
        wire.cut()

    def comes_back() -> None:
        second.start()
        wire.upstream = second.url

    meanwhile(goes_away, comes_back, *run_through(api, sessions))
    try:
        assert far.wait(job, timeout=60)["state"] == "succeeded"
    finally:
        wire.cut()
        second.stop()


def test_waiting_ends_on_time_and_leaves_the_job_alone(client: Client) -> None:
    job = client.calibrate("demo")
    with pytest.raises(WaitTimeout, match="The job continues") as late:
        client.wait(job, timeout=0.6)
    assert isinstance(late.value, TimeoutError)
    assert client.job(job)["state"] == "queued"


def test_waiting_ends_on_time_where_the_service_accepts_and_does_not_answer(key: str) -> None:
    """Each request was given 15 s more than the job, and was sent again after the first had failed."""
    with socket.create_server(("127.0.0.1", 0)) as silent, Client(f"http://127.0.0.1:{silent.getsockname()[1]}", key) as client:
        began = time.monotonic()
        with pytest.raises(Unreachable):
            client.wait("job_" + "a" * 26, timeout=0.5)
    assert time.monotonic() - began < 12


def test_a_failed_job_raises_its_own_reason_unless_told_not_to(client: Client, sessions: Sessions) -> None:
    job = client.calibrate("demo")
    lives.fail(sessions, lives.claim(sessions))
    with pytest.raises(JobFailed, match=r"broken: It broke\. Mend it\.") as failed:
        client.wait(job, timeout=60)
    assert failed.value.job["id"] == job["id"]
    assert client.wait(job, timeout=60, check=False)["state"] == "failed"


def test_events_come_once_and_in_order_until_the_job_is_over(
    client: Client, api: Running, sessions: Sessions, meanwhile: Callable[..., None]
) -> None:
    job = client.calibrate("demo")
    meanwhile(*run_through(api, sessions))
    seen = list(client.events(job))
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert (seen[0]["type"], seen[-1]["type"]) == ("submitted", "succeeded")
    assert list(client.events(job, after=seen[0]["seq"])) == seen[1:]


@pytest.mark.parametrize("bytes_through", [1, 400, 700, 900])
def test_a_broken_stream_resumes_after_the_last_event_received(
    far: Client, client: Client, wire: Wire, api: Running, sessions: Sessions, meanwhile: Callable[..., None], bytes_through: int
) -> None:
    """The connection breaks within the headers, within an event and between events; no event is missed or repeated."""
    job = client.calibrate("demo")
    meanwhile(*run_through(api, sessions))
    client.wait(job, timeout=60)
    wire.faults = [cut_after(bytes_through)]
    assert list(far.events(job)) == list(client.events(job))
    assert len(wire.connections) > 1


def test_a_quiet_stream_may_break_again_and_again_while_the_service_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience counted from the first break until an event came: a second break of a quiet job's stream ended the following."""
    monkeypatch.setattr(following, "OUTAGE", 0.3)
    opened: list[str] = []

    @contextmanager
    def event_stream(path: str, **_options: object) -> Iterator[Iterator[object]]:
        opened.append(path)
        yield iter(())
        if len(opened) < 4:
            time.sleep(0.35)
            raise httpx2.ReadError("cut")

    ended = SimpleNamespace(json=lambda: {"state": "succeeded", "items": []})
    connection = SimpleNamespace(
        event_stream=event_stream, request=lambda *_where, **_options: ended, unreachable=lambda error: error
    )
    assert list(following.events(cast(Connection, connection), "job_1")) == []
    assert len(opened) == 4
