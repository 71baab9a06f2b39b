"""The reason why a job waits: a stable code and a sentence with the numbers, for each thing that a job can wait for."""

from collections.abc import Iterable

from sqlalchemy import event, text

from app.devices.models import Worker
from app.devices.repository import hold
from app.jobs import endings
from app.jobs.models import Job
from app.jobs.repository import Warned
from app.jobs.schemas import Edge
from app.jobs.standing import standings
from app.jobs.views import views
from tests.db.conftest import ADMIN, Desk
from tests.db.test_lanes import Lanes, lanes  # noqa: F401 - the fixture


def _worker(desk: Desk, name: str, job_class: str = "model", *, silent_seconds: float = 0) -> None:
    with desk.sessions.begin() as session:
        session.add(Worker(id=name, job_class=job_class, device="cpu", host="here", parent_pid=1, version="0"))
        session.flush()
        session.execute(text(f"UPDATE workers SET seen_at = now() - interval '{silent_seconds} s' WHERE id = :id"), {"id": name})


def _codes(desk: Desk, ids: Iterable[str]) -> list[str | None]:
    """The codes of the reasons why these jobs wait."""
    jobs = [desk.job(job_id) for job_id in ids]
    found = desk.do(standings, jobs, ADMIN, slice_seconds=300)
    return [reason.code if (reason := found[job.id].reason) else None for job in jobs]


def _said(desk: Desk, job_id: str) -> str:
    """The sentence that says why the job waits."""
    reason = desk.do(standings, [desk.job(job_id)], ADMIN, slice_seconds=300)[job_id].reason
    assert reason is not None
    return str(reason.detail)


def test_a_job_without_a_worker_of_its_class_says_so(lanes: Lanes) -> None:  # noqa: F811
    _worker(lanes, "l", "light")
    _worker(lanes, "gone", silent_seconds=200)
    job = lanes.submit()
    assert _codes(lanes, [job]) == ["no_worker_of_class"]
    assert "class model" in _said(lanes, job)


def test_with_a_free_worker_the_next_job_is_starting(lanes: Lanes) -> None:  # noqa: F811
    _worker(lanes, "w")
    assert _codes(lanes, [lanes.submit(), lanes.submit()]) == ["starting", "own_jobs_first"]


def test_a_job_that_lost_its_worker_waits_for_a_new_process(lanes: Lanes) -> None:  # noqa: F811
    """The node still lives and counts as free while it replaces the process that was killed."""
    _worker(lanes, "w")
    job = lanes.submit()
    assert _said(lanes, job) == "A worker is free and will start it now."
    lease = lanes.take("w")
    assert lease is not None
    with lanes.sessions.begin() as session:
        held = endings.still_held(session, job, lease.token)
        assert held is not None
        endings.lose(session, held, {"code": "worker_lost", "signal": "signal 9 (SIGKILL)"}, max_losses=3)
    assert _codes(lanes, [job]) == ["starting"]
    assert _said(lanes, job).startswith("The process that ran it ended early. A worker starts it again when it has a new process")


def test_the_jobs_before_it_are_counted_by_why_they_go_first(lanes: Lanes) -> None:  # noqa: F811
    _worker(lanes, "w")
    lanes.submit("zoe")
    assert lanes.take("w") is not None
    first, second = lanes.submit("ann"), lanes.submit("ann")
    last = lanes.submit("bob")
    generation = lanes.generate("cat")
    assert _codes(lanes, [generation, first, last, second]) == [
        "workers_busy",
        "turn_of_others",
        "turn_of_others",
        "turn_of_others",
    ]
    assert _said(lanes, generation) == "It is next; the only worker for jobs of the class model is busy."
    assert _said(lanes, first) == "1 job before it: 1 generation."
    assert _said(lanes, second) == "3 jobs before it: 1 of other users with an earlier turn, 1 of the same user, 1 generation."


def test_devices_that_are_held_or_have_no_disk_space_are_not_counted_on(lanes: Lanes) -> None:  # noqa: F811
    for name in ("w", "v"):
        _worker(lanes, name)
        with lanes.sessions.begin() as session:
            hold(session, name, mode="paused", reason=None, held_by="root", minutes=None)
    job = lanes.submit()
    assert _codes(lanes, [job]) == ["workers_held"]
    assert _said(lanes, job).startswith("All 2 workers of the class model are paused or drained")
    _worker(lanes, "u")
    assert _codes(lanes, [job]) == ["starting"]
    with lanes.sessions.begin() as session:
        session.execute(text("""UPDATE workers SET blocked = '{"detail": "full"}' WHERE id = 'u'"""))
    assert _codes(lanes, [job]) == ["no_disk_space"]
    with lanes.sessions.begin() as session:  # a hold ends by itself
        session.execute(text("UPDATE device_holds SET until = now() - interval '1 s' WHERE worker_id = 'w'"))
    assert _codes(lanes, [job]) == ["starting"]


def test_a_job_beyond_the_running_quota_waits_with_both_numbers(lanes: Lanes) -> None:  # noqa: F811
    _worker(lanes, "w")
    _worker(lanes, "v")
    lanes.limit("ann", 1)
    lanes.submit()
    assert lanes.take("w") is not None
    job = lanes.submit()
    assert _codes(lanes, [job]) == ["quota_running"]
    told = "ann has 1 job on devices; the quota (max_running) allows 1; one of these jobs must end or yield first."
    assert _said(lanes, job) == told


def test_jobs_that_wait_for_others_are_postponed_or_load_their_model_say_so(lanes: Lanes) -> None:  # noqa: F811
    _worker(lanes, "w")
    ids = [lanes.submit() for _ in range(5)]
    after = lanes.submit(after=[Edge(job=job, needs="end") for job in ids])
    lease = lanes.take()
    assert lease is not None
    lanes.do(endings.requeue, lease.job.id, lease.token, "deferred", {}, delay=3600)
    held = lanes.take()
    assert held is not None
    assert _codes(lanes, [after, lease.job.id]) == ["after_jobs", "backoff"]
    assert _said(lanes, after) == "It waits for 5 jobs to end. Running now: probe (starting)."
    with lanes.sessions.begin() as session:
        session.execute(
            text("UPDATE jobs SET phase = 'reading', progress_done = 1, progress_total = 3 WHERE id = :id"), {"id": held.job.id}
        )
    assert _said(lanes, after) == "It waits for 5 jobs to end. Running now: probe (reading 33 %)."
    with lanes.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET phase = 'loading model' WHERE id = :id"), {"id": held.job.id})
    assert _codes(lanes, [held.job.id]) == ["model_loading"]


def test_the_number_of_statements_does_not_grow_with_the_number_of_jobs(lanes: Lanes) -> None:  # noqa: F811
    """The poll for all watched jobs reads two hundred at once."""
    _worker(lanes, "w")

    def cost(jobs: int) -> int:
        ids = [lanes.submit(f"user{i % 7}") for i in range(jobs)]
        ids += [lanes.submit(after=[Edge(job=ids[0])], viewer=ADMIN), lanes.generate(), lanes.submit(job_class="light")]
        with lanes.sessions() as session:
            rows = [session.get_one(Job, job_id) for job_id in ids]
            statements: list[str] = []

            def count(*call: object) -> None:
                statements.append(str(call[2]))

            event.listen(session.get_bind(), "before_cursor_execute", count)
            assert len(views(session, [Warned(row, ()) for row in rows], ADMIN, slice_seconds=300)) == jobs + 3
            event.remove(session.get_bind(), "before_cursor_execute", count)
        return len(statements)

    assert cost(2) == cost(60) <= 7
