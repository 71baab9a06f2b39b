"""A rolling restart to newer workers: an old worker leaves new jobs to new workers, and no job is lost."""

import threading
import time
from datetime import datetime

import httpx2
import pytest
from sqlalchemy import func, select, text

from app.migrate import head_revision, upgrade
from tests.api.conftest import Running
from tests.worker import probe
from tests.worker.conftest import Service

NEW = {"PROBE_VERSION": "2"}


def probe_of(version: int) -> probe.Probe:
    """The probe kind with this handler version."""
    kind = probe.Probe()
    kind.handler_version = version
    return kind


@pytest.fixture
def api_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, jobs that this process submits have handler version 2."""
    monkeypatch.setattr(probe, "PROBE", probe_of(2))


def test_an_old_worker_leaves_a_new_job_alone_and_a_new_one_takes_it(live: Service, api_is_new: None) -> None:
    old, new_job = live.node("light-0"), live.submit("ann")
    probe.PROBE = probe_of(1)
    old_job = live.submit("ann")
    assert live.ended(old_job).state == "succeeded", "an old job of the same owner is not held up"
    time.sleep(4 * live.settings.lease.sweep)  # several bells: at one of them a worker without the version check takes the job
    waiting = live.job(new_job)
    assert (waiting.state, waiting.attempt) == ("queued", 0)
    live.node("light-1", **NEW)
    assert live.ended(new_job).state == "succeeded"
    assert live.events(new_job)[1].data["worker"] == "light-1@here"
    assert old.stop() == 0
    assert live.ended(live.submit()).state == "succeeded", "a new worker runs old jobs too"


def test_an_old_worker_that_hears_the_bell_does_not_delay_a_new_job(live: Service, api_is_new: None) -> None:
    live.node("light-0")
    live.node("light-1", **NEW)
    for _ in range(5):
        job_id = live.submit()
        assert live.ended(job_id).state == "succeeded"


@pytest.mark.own_application
def test_an_old_server_stays_ready_after_a_newer_one_migrated_the_database(api: Running) -> None:
    """A schema that is older than the server is not ready, and the detail says what to run."""
    url = api.settings.database_url.get_secret_value()

    def migrations(revision: str) -> tuple[int, str]:
        with api.sessions.begin() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        time.sleep(1.1)  # /readyz repeats its answer for 1 s
        answer = httpx2.get(f"{api.url}/readyz", timeout=120)
        return answer.status_code, answer.json()["checks"]["migrations"]["detail"]

    assert migrations("9999_of_tomorrow") == (200, f"9999_of_tomorrow, newer than this server's {head_revision()}")
    upgrade(url)
    status, detail = migrations("0001")
    assert status == 503
    assert "run `binnacle prepare`" in detail


def test_a_rolling_restart_under_load_loses_nothing(live: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the API is new, then one node after the other is stopped with SIGTERM and replaced, while jobs are submitted."""
    nodes = [live.node(f"light-{n}") for n in range(2)]
    old, new, over, gone = list[str](), list[str](), threading.Event(), dict[str, datetime]()
    target = old

    def load() -> None:
        while not over.wait(0.7):
            target.append(live.submit(f"owner-{len(target) % 3}", steps=2, seconds=0.1))

    submitting = threading.Thread(target=load)
    submitting.start()
    try:
        live.until(lambda: len(old) > 2, "jobs to be submitted by the old API")
        monkeypatch.setattr(probe, "PROBE", probe_of(2))
        target = new
        for node in nodes:
            assert node.stop() == 0
            with live.sessions() as session:
                gone[node.id] = session.scalar(select(func.now()))
            live.node(node.name, **NEW)
    finally:
        over.set()
        submitting.join()

    for job_id in old + new:
        job = live.ended(job_id)
        types = live.event_types(job_id)
        assert (job.state, job.losses) == ("succeeded", 0), (job.error, types)
        assert [kind for kind in types if kind in {"succeeded", "failed", "cancelled"}] == ["succeeded"]
        assert types.count("started") == job.attempt
    starts = [
        event for job_id in new[1:] for event in live.events(job_id) if event.type == "started"
    ]  # the first may still have been made with the old version
    assert len(starts) >= len(new) - 1
    assert all(event.at >= gone[event.data["worker"]] for event in starts), "only new workers ran new jobs"
