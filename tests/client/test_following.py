"""Following a job sees every change, survives restarts and broken connections, and ends when the job does."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from binnacle import Client, JobFailed, WaitTimeout
from tests.api import lives
from tests.api.conftest import Running
from tests.client.wire import Wire, cut_after

Sessions = sessionmaker[Session]


def run_through(api: Running, sessions: Sessions) -> list[Callable[[], object]]:
    """The steps of a job's life that end well."""
    leases: list[Any] = []
    return [
        lambda: leases.append(lives.claim(sessions)),
        lambda: lives.succeed(sessions, api.context.storage, leases[0]),
    ]


def test_waiting_shows_each_state_and_returns_the_finished_job(
    client: Client, api: Running, sessions: Sessions, meanwhile: Callable[..., None]
) -> None:
    job = client.calibrate("demo")
    meanwhile(*run_through(api, sessions))
    states: list[str] = []
    finished = client.wait(job, timeout=20, on_change=lambda now: states.append(now["state"]))
    assert list(dict.fromkeys(states)) == ["queued", "running", "succeeded"]
    assert finished["artifacts"][0]["name"] == "calibration.json"


def test_waiting_for_the_end_asks_once(
    client: Client, api: Running, sessions: Sessions, meanwhile: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes that nobody looks at wake no request: each would cost the service a dozen messages to the database."""
    job = client.calibrate("demo")
    asked: list[str] = []
    ask = client._connection.request
    monkeypatch.setattr(client._connection, "request", lambda *about, **more: asked.append(about[1]) or ask(*about, **more))
    meanwhile(*run_through(api, sessions))
    assert client.wait(job, timeout=30)["state"] == "succeeded"
    assert len(asked) == 1, asked


def test_waiting_outlives_a_restart_of_the_service(
    far: Client, wire: Wire, api: Running, sessions: Sessions, meanwhile: Callable[..., None]
) -> None:
    """The service goes away in the middle of a long poll and comes back as another process; the waiter notices only the end."""
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
        assert far.wait(job, timeout=30)["state"] == "succeeded"
    finally:
        wire.cut()
        second.stop()


def test_waiting_ends_on_time_and_leaves_the_job_alone(client: Client) -> None:
    job = client.calibrate("demo")
    with pytest.raises(WaitTimeout, match="The job continues") as late:
        client.wait(job, timeout=0.6)
    assert isinstance(late.value, TimeoutError)
    assert client.job(job)["state"] == "queued"


def test_a_failed_job_raises_its_own_reason_unless_told_not_to(client: Client, sessions: Sessions) -> None:
    job = client.calibrate("demo")
    lives.fail(sessions, lives.claim(sessions))
    with pytest.raises(JobFailed, match=r"broken: It broke\. Mend it\.") as failed:
        client.wait(job, timeout=10)
    assert failed.value.job["id"] == job["id"]
    assert client.wait(job, timeout=10, check=False)["state"] == "failed"


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
def test_a_stream_that_breaks_goes_on_after_the_last_event_that_arrived(
    far: Client, client: Client, wire: Wire, api: Running, sessions: Sessions, meanwhile: Callable[..., None], bytes_through: int
) -> None:
    """Cut in the head of the answer, within an event and between two: nothing is missed, nothing comes twice."""
    job = client.calibrate("demo")
    meanwhile(*run_through(api, sessions))
    client.wait(job, timeout=20)
    wire.faults = [cut_after(bytes_through)]
    assert list(far.events(job)) == list(client.events(job))
    assert len(wire.connections) > 1
