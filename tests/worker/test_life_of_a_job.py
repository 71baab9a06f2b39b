"""Jobs on real worker nodes, to every kind of ending: success, failure, cancellation, deferral, yielding, time limits and retries."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.db import make_sessions
from app.jobs import service
from app.jobs.models import Job, JobCell
from app.jobs.schemas import Edge
from app.jobs.states import FINISHED
from app.storage.base import key_of
from app.storage.factory import open_storage
from tests.worker.conftest import Service
from workers.runner import MAX_DEFERRALS


def test_a_job_runs_and_leaves_its_result_its_files_and_its_history(at_work: Service) -> None:
    job = at_work.ended(at_work.submit(steps=2, at_most=5, text="hello"))
    assert (job.state, job.phase, job.attempt, job.losses, job.worker_id) == ("succeeded", "done", 1, 0, None)
    assert job.result == {"text": "hello", "kept": []}
    assert at_work.event_types(job.id) == ["submitted", "started", "phase", "cell", "cell", "succeeded"]
    assert [event.seq for event in at_work.events(job.id)] == list(range(1, 7))
    assert (job.progress_done, job.progress_total, job.progress_unit) == (2, 2, "steps")
    assert job.device_seconds > 0
    assert job.peak_bytes > 1_000_000
    storage = open_storage(at_work.settings.storage_url.get_secret_value())
    with at_work.sessions() as session:
        cell = session.get_one(JobCell, (job.id, "step/1"))
    assert storage.get(key_of(cell.digest)) == b"step 1 of hello"


def test_a_dependent_job_starts_when_what_it_needs_has_succeeded(at_work: Service) -> None:
    first = at_work.submit(seconds=1)
    second = at_work.submit(after=[Edge(job=first)])
    assert at_work.ended(second).state == "succeeded"
    assert at_work.job(first).finished_at <= at_work.job(second).started_at


def test_a_job_locked_when_the_bell_rings_starts_as_soon_as_it_is_unlocked(
    make_service: Callable[..., Service], database_url: str, broker_url: str, broker_prefix: str
) -> None:
    """The bell did it: without one, the node and the sweep would find the job after 200 s."""
    live = make_service(database_url, broker_url, broker_prefix, sweep=200, look=200)
    live.node()
    silent = make_sessions(live.sessions.kw["bind"])
    locked = 1.0
    while locked > 0.3:  # the node tries again for 0.385 s; a round in which this process was held up shows nothing
        with silent.begin() as session:
            job_id = service.submit(session, service.Submission(kind="probe", spec={}, owner="ann", job_class="light")).job.id
        with silent.begin() as session:
            session.execute(select(Job.id).where(Job.id == job_id).with_for_update(read=True))
            began = time.monotonic()
            live.bell.ring("light")
            time.sleep(0.2)
        locked = time.monotonic() - began
    assert live.ended(job_id, seconds=60).state == "succeeded"


def test_a_failed_dependency_fails_the_jobs_behind_it(at_work: Service) -> None:
    first = at_work.submit(do="fault", steps=2, at=1, seconds=1)
    second = at_work.submit(after=[Edge(job=first)])
    third = at_work.submit(after=[Edge(job=second)])
    anyway = at_work.submit(after=[Edge(job=first, needs="end")])
    assert at_work.ended(first).error == {
        "code": "wrong_somehow",
        "detail": "The spec is wrong; write another.",
        "facts": {"step": 1},
    }
    for job in (at_work.ended(second), at_work.ended(third)):
        assert job.state == "failed"
        assert job.error["code"] == "dependency_failed"
        assert job.attempt == 0
    assert at_work.job(second).error["facts"]["job"] == first
    assert at_work.ended(anyway).state == "succeeded"


@pytest.mark.parametrize(("act", "code"), [("fault", "wrong_somehow"), ("memory", "out_of_memory"), ("bug", "internal_error")])
def test_a_deterministic_failure_ends_the_job_and_the_worker_runs_the_next(at_work: Service, act: str, code: str) -> None:
    failed, after = at_work.submit(do=act, steps=3, at=1), at_work.submit()
    job = at_work.ended(failed)
    assert (job.state, job.error["code"], job.attempt) == ("failed", code, 1)
    assert "cell" in at_work.event_types(failed), "what was finished before is kept"
    assert at_work.ended(after).state == "succeeded"


def test_a_transient_fault_defers_the_job_and_it_succeeds_later(at_work: Service, tmp_path: Path) -> None:
    job_id = at_work.submit(do="transient", count_in=str(tmp_path / "calls"))
    at_work.until(lambda: "deferred" in at_work.event_types(job_id), "the job to be put off")
    waiting = at_work.job(job_id)
    assert (waiting.state, waiting.losses) == ("queued", 0)
    assert waiting.not_before is not None
    job = at_work.ended(job_id)
    assert (job.state, job.attempt, job.losses) == ("succeeded", 2, 0)


def test_a_lasting_transient_fault_fails_the_job_after_its_deferrals(at_work: Service, tmp_path: Path) -> None:
    """Such as a judge that never comes back. The waits (5 s, doubled each time) are cut short; finished cells are kept."""
    job_id = at_work.submit(do="transient", steps=2, at=1, count_in=str(tmp_path / "calls"), times=99)

    def hurried() -> bool:
        with at_work.sessions.begin() as session:
            session.execute(update(Job).where(Job.id == job_id, Job.state == "queued").values(not_before=None))
        return at_work.job(job_id).state in FINISHED

    at_work.until(hurried, "the job to end")
    job = at_work.job(job_id)
    assert (job.state, job.error["code"], job.losses, job.attempt) == ("failed", "unavailable", 0, MAX_DEFERRALS + 1)
    assert f"Postponed {MAX_DEFERRALS} times: the judge is down" in job.error["detail"]
    assert at_work.event_types(job_id).count("deferred") == MAX_DEFERRALS
    assert at_work.event_types(job_id).count("cell") == 1


def test_a_retry_begins_with_the_cells_of_the_failed_job(at_work: Service, tmp_path: Path) -> None:
    """A retry of the retry does too."""
    failing = {"steps": 4, "at": 2, "do": "fault", "count_in": str(tmp_path / "calls"), "times": 2}
    first = at_work.submit(**failing)
    assert at_work.ended(first).state == "failed"
    second = at_work.retry(first)
    assert at_work.ended(second).state == "failed"
    third = at_work.ended(at_work.retry(second))
    assert (third.state, third.result["kept"]) == ("succeeded", [0, 1])


def test_cancelling_a_queued_job_needs_no_worker(live: Service) -> None:
    job_id = live.submit()
    behind = live.submit(after=[Edge(job=job_id)])
    live.cancel(job_id)
    assert live.job(job_id).state == "cancelled"
    assert live.job(behind).error["code"] == "dependency_failed"


def test_cancelling_a_running_job_stops_it_between_batches_and_keeps_its_cells(
    make_service: Callable[..., Service], database_url: str, broker_url: str, broker_prefix: str
) -> None:
    """Its parent would kill it after 200 s."""
    live = make_service(database_url, broker_url, broker_prefix, cancel_grace=200)
    live.node()
    job_id = live.submit(steps=1000, seconds=0.2)
    live.running(job_id, cells=1)
    live.cancel(job_id)
    assert live.job(job_id).state in ("cancelling", "cancelled")
    job = live.ended(job_id, seconds=60)
    assert (job.state, job.cancelled_by) == ("cancelled", "ann")
    with live.sessions() as session:
        assert session.get(JobCell, (job_id, "step/0")) is not None


def test_a_handler_that_ignores_a_cancellation_is_killed_by_its_parent(live: Service) -> None:
    node = live.node()
    job_id = live.submit(do="deaf")
    live.acting(job_id)
    child = node.child()
    live.cancel(job_id)
    assert live.ended(job_id).state == "cancelled"
    assert not Path(f"/proc/{child}").exists(), "the row says cancelled only when the process is gone"
    assert live.ended(live.submit()).state == "succeeded"


def test_a_job_that_stalls_again_and_again_is_killed_and_fails_as_poison(live: Service) -> None:
    live.node()
    job = live.ended(live.submit(do="deaf", stall=0.5))
    assert (job.state, job.error["code"], job.losses) == ("failed", "poison", 3)
    assert job.attempt == live.settings.lease.max_losses
    assert [event.data["code"] for event in live.events(job.id) if event.type == "lost"] == ["stalled", "stalled"]
    assert job.error["facts"]["cause"]["code"] == "stalled"
    assert "SIGTERM" in job.error["facts"]["cause"]["signal"]


def test_a_job_past_its_time_limit_fails_without_another_attempt(at_work: Service) -> None:
    job_id = at_work.submit(seconds=60)
    with at_work.sessions.begin() as session:
        session.get_one(type(at_work.job(job_id)), job_id).max_seconds = 1
    job = at_work.ended(job_id)
    assert (job.state, job.error["code"], job.attempt) == ("failed", "time_limit", 1)


def test_a_long_job_yields_to_a_job_of_another_owner(at_work: Service, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    long = at_work.submit("ann", steps=2, at=1, gate=str(gate))
    at_work.running(long, cells=1)
    short = at_work.ended(at_work.submit("bob"))
    assert "yielded" in at_work.event_types(long)
    gate.touch()
    job = at_work.ended(long)
    assert (short.state, job.state, job.losses) == ("succeeded", "succeeded", 0)
    assert job.result["kept"] == [0], "finished cells are not computed again"


def test_a_job_does_not_yield_to_its_own_owner(at_work: Service) -> None:
    first = at_work.submit("ann", steps=5, seconds=0.5)
    at_work.running(first)
    at_work.submit("ann")
    at_work.ended(first)
    assert "yielded" not in at_work.event_types(first)


def test_a_long_job_yields_to_a_short_one_long_before_its_slice_is_over(
    make_service: Callable[..., Service], database_url: str, broker_url: str, broker_prefix: str
) -> None:
    """Also to a short job of its own owner, who need not wait an hour for one answer."""
    live = make_service(database_url, broker_url, broker_prefix, slice=3600, short_slice=1)
    live.node("model-0")
    gate = live.folder / "gate"
    long = live.submit("ann", steps=2, at=1, gate=str(gate), job_class="model")
    live.running(long, cells=1)
    look = live.ended(live.submit("ann", kind="glance", job_class="model"))
    assert "yielded" in live.event_types(long)
    gate.touch()
    job = live.ended(long)
    assert (look.state, job.state, job.losses) == ("succeeded", "succeeded", 0)
    assert job.result["kept"] == [0], "finished cells are not computed again"


def test_a_stopped_node_gives_its_job_back_without_a_loss(live: Service) -> None:
    node = live.node()
    job_id = live.submit(steps=900, seconds=0.2)
    live.running(job_id, cells=1)
    began = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - began < 60, "the whole job would take 180 s"
    job = live.job(job_id)
    assert (job.state, job.losses) == ("queued", 0)
    assert live.event_types(job_id)[-1] == "drained"


def test_the_estimated_end_of_a_steady_job_is_near_its_end(at_work: Service) -> None:
    """Its end if its other steps take as long as those before the estimate: a busy machine may hold up the others for seconds."""
    steps = 60
    job_id = at_work.submit(steps=steps, seconds=0.2)
    at_work.running(job_id, cells=steps // 2)
    seen = at_work.until(lambda: job if (job := at_work.job(job_id)).eta_at else None, "an estimate")
    first = next(event.at for event in at_work.events(job_id) if event.type == "cell")
    pace = (seen.progress_at - first) / (seen.progress_done - 1)
    end = seen.progress_at + pace * (steps - seen.progress_done)
    assert abs((seen.eta_at - end).total_seconds()) < 0.1 * (end - seen.started_at).total_seconds()
    job = at_work.ended(job_id)
    assert job.eta_at is None, "a finished job has no estimate"


def test_a_continued_job_is_not_estimated_by_what_an_earlier_attempt_finished(live: Service) -> None:
    first = live.node()
    job_id = live.submit(steps=16, seconds=1)
    live.running(job_id, cells=8)
    assert first.stop() == 0
    live.node("light-1")
    seen = live.until(lambda: job if (job := live.job(job_id)).eta_at else None, "an estimate")
    left = (seen.eta_at - seen.progress_at).total_seconds()
    assert left > 0.9 * (16 - seen.progress_done), "a step takes a second; the kept steps took a tenth of it"
    assert live.ended(job_id).attempt == 2
