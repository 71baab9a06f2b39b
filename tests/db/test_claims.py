"""Which job a claim gets, the lease it makes, and what lost leases do: turns of owners, priority, loaded models, races."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import select, text

from app.jobs import claims, endings, turns
from app.jobs.claims import Reached
from app.jobs.models import Job
from app.jobs.schemas import Edge
from app.jobs.standing import standings
from app.jobs.states import State
from app.jobs.transitions import Superseded
from tests.db.conftest import ADMIN, Desk


def test_a_claim_without_a_ready_job_is_none(desk: Desk) -> None:
    assert desk.claim() is None


def test_a_claim_of_a_job_that_another_transaction_locks_raises(desk: Desk) -> None:
    """As while a submission behind it checks it. Without the error, the job would wait for the next bell, seconds later."""
    job_id = desk.submit()
    with desk.sessions.begin() as session:
        session.execute(select(Job.id).where(Job.id == job_id).with_for_update(read=True))
        with pytest.raises(turns.Locked):
            desk.claim()
    lease = desk.claim()
    assert lease is not None
    assert lease.job.id == job_id


def test_a_job_of_another_owner_is_claimed_while_one_is_locked(desk: Desk) -> None:
    locked, free = desk.submit("ann"), desk.submit("bob")
    with desk.sessions.begin() as session:
        session.execute(select(Job.id).where(Job.id == locked).with_for_update(read=True))
        lease = desk.claim()
    assert lease is not None
    assert lease.job.id == free


def test_a_claim_is_a_lease_that_grows_the_token(desk: Desk) -> None:
    job_id = desk.submit()
    lease = desk.claim("w1", pid=42)
    assert lease is not None
    assert (lease.job.id, lease.token, lease.job.state, lease.job.attempt) == (job_id, 1, State.RUNNING, 1)
    assert (lease.job.worker_id, lease.job.child_pid) == ("w1", 42)
    assert desk.claim("w2") is None, "a held job is nobody else's"
    desk.do(endings.requeue, job_id, 1, "yielded", {})
    again = desk.claim("w2")
    assert again is not None
    assert (again.token, again.job.attempt) == (2, 2)


def test_owners_take_turns_whatever_they_queue(desk: Desk) -> None:
    for _ in range(6):
        desk.submit("ann")
    for owner in ("bob", "cat"):
        for _ in range(2):
            desk.submit(owner)
    order = []
    while (lease := desk.claim()) is not None:
        order.append(lease.job.owner)
        desk.do(endings.succeed, lease.job.id, lease.token, {}, [], metrics={})
    assert order == ["ann", "bob", "cat", "ann", "bob", "cat", "ann", "ann", "ann", "ann"]


def test_an_owner_who_used_the_device_long_waits_at_most_a_slice_longer(desk: Desk) -> None:
    for owner in ("ann", "bob"):
        desk.submit(owner)
        lease = desk.claim()
        assert lease is not None
        seconds = 10_000 if owner == "ann" else 1
        desk.do(endings.succeed, lease.job.id, lease.token, {}, [], metrics={"device_seconds": seconds})
    with desk.sessions.begin() as session:  # ann was served long before bob, but used the device for hours
        session.execute(text("UPDATE owner_turns SET last_started = last_started - interval '100 s' WHERE owner = 'ann'"))
    desk.submit("ann")
    desk.submit("bob")
    first = desk.claim()
    assert first is not None
    assert first.job.owner == "bob"
    desk.do(endings.requeue, first.job.id, first.token, "yielded", {})
    with desk.sessions.begin() as session:  # more than a slice later
        session.execute(text("UPDATE owner_turns SET last_started = last_started - interval '400 s' WHERE owner = 'ann'"))
    second = desk.claim()
    assert second is not None
    assert second.job.owner == "ann"


def test_priority_orders_an_owners_own_jobs_then_a_loaded_model_then_age(desk: Desk) -> None:
    old = desk.submit(model="a")
    loaded = desk.submit(model="b")
    urgent = desk.submit(model="c", priority=5)
    claimed = [desk.claim(f"w{i}", models=["b"]) for i in range(3)]
    assert [lease.job.id for lease in claimed if lease] == [urgent, loaded, old]


def test_a_loaded_model_is_looked_for_sixteen_jobs_ahead_and_no_further(desk: Desk) -> None:
    first = desk.submit(model="a")
    for _ in range(turns.LOOKAHEAD - 1):
        desk.submit(model="a")
    desk.submit(model="b")
    lease = desk.claim(models=["b"])
    assert lease is not None
    assert lease.job.id == first


def test_classes_do_not_take_each_others_jobs(desk: Desk) -> None:
    desk.submit(job_class="light")
    assert desk.claim(job_class="model") is None
    assert desk.claim(job_class="light") is not None


def test_a_job_of_a_newer_handler_is_left_to_newer_workers(desk: Desk) -> None:
    job_id = desk.submit()
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET handler_version = 2"))
    assert desk.claim() is None
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET handler_version = 1"))
    lease = desk.claim()
    assert lease is not None
    assert lease.job.id == job_id


def test_a_job_put_off_is_not_claimed_before_its_time(desk: Desk) -> None:
    job_id = desk.submit()
    lease = desk.claim()
    assert lease is not None
    desk.do(endings.requeue, job_id, lease.token, "deferred", {}, delay=3600)
    assert desk.claim() is None


def test_claimers_that_race_never_get_the_same_job(desk: Desk) -> None:
    for i in range(300):
        desk.submit(f"user{i % 10}", model=f"m{i % 3}")

    def work(worker: int) -> list[str]:
        mine = []
        while (lease := desk.claim(f"w{worker}", models=[f"m{worker % 3}"])) is not None:
            mine.append(lease.job.id)
        return mine

    with ThreadPoolExecutor(8) as pool:
        claimed = [job for jobs in pool.map(work, range(8)) for job in jobs]
    assert len(claimed) == 300
    assert Counter(claimed).most_common(1)[0][1] == 1


def test_positions_are_the_order_in_which_jobs_are_then_claimed(desk: Desk) -> None:
    ids = [
        desk.submit(owner, priority=priority)
        for owner, priority in [("ann", 0), ("ann", 3), ("bob", 0), ("cat", 0), ("ann", 0), ("bob", 1)]
    ]
    blocked = desk.submit("dan", after=[Edge(job=ids[0])], viewer=ADMIN)
    with desk.sessions() as session:
        jobs = session.scalars(select(Job).where(Job.id.in_([*ids, blocked]))).all()
        found = standings(session, jobs, None, slice_seconds=300)
    assert found.pop(blocked).position is None
    places = {job_id: standing.position or 0 for job_id, standing in found.items()}
    claimed = []
    while (lease := desk.claim()) is not None:
        claimed.append(lease.job.id)
    assert sorted(places, key=places.__getitem__) == claimed
    assert sorted(places.values()) == [1, 2, 3, 4, 5, 6]


def test_an_old_lease_cannot_change_the_job(desk: Desk) -> None:
    job_id = desk.submit()
    old = desk.claim("old")
    assert old is not None
    desk.do(endings.requeue, job_id, old.token, "yielded", {})
    new = desk.claim("new")
    assert new is not None
    error = {"code": "x", "detail": "y"}
    for late in (
        lambda: desk.do(claims.renew, job_id, old.token, 60),
        lambda: desk.do(claims.report, job_id, old.token, Reached(values={"phase": "late"})),
        lambda: desk.do(endings.succeed, job_id, old.token, {}, [], metrics={}),
        lambda: desk.do(endings.fail, job_id, old.token, error),
        lambda: desk.do(endings.cancelled, job_id, old.token),
        lambda: desk.do(endings.requeue, job_id, old.token, "yielded", {}),
    ):
        with pytest.raises(Superseded):
            late()
    job = desk.job(job_id)
    assert (job.state, job.worker_id, job.phase, job.lease_token) == (State.RUNNING, "new", "starting", new.token)


def test_three_losses_in_a_row_fail_a_job_and_a_finished_cell_resets_the_count(desk: Desk) -> None:
    job_id = desk.submit()
    for losses in (1, 2):
        lease = desk.claim()
        assert lease is not None
        desk.do(endings.lose, lease.job, {"code": "worker_lost", "signal": "signal 9 (SIGKILL)"}, max_losses=3)
        assert (desk.job(job_id).state, desk.job(job_id).losses) == (State.QUEUED, losses)
    lease = desk.claim()
    assert lease is not None
    desk.do(claims.report, job_id, lease.token, Reached(values={"losses": 0}))
    desk.do(endings.lose, desk.job(job_id), {"code": "worker_lost"}, max_losses=3)
    assert desk.job(job_id).losses == 1
    for _ in range(2):
        lease = desk.claim()
        assert lease is not None
        desk.do(endings.lose, lease.job, {"code": "worker_lost", "signal": "signal 9 (SIGKILL)"}, max_losses=3)
    job = desk.job(job_id)
    assert (job.state, job.error["code"], job.losses) == (State.FAILED, "poison", 3)
    assert "signal 9 (SIGKILL)" in job.error["detail"]


def test_losses_in_a_database_outage_are_not_counted(desk: Desk) -> None:
    job_id = desk.submit()
    for _ in range(5):
        lease = desk.claim()
        assert lease is not None
        desk.do(endings.lose, lease.job, {"code": "database_outage"}, max_losses=3, charged=False)
    assert (desk.job(job_id).state, desk.job(job_id).losses) == (State.QUEUED, 0)


def test_a_lost_worker_of_a_job_being_cancelled_cancels_it(desk: Desk) -> None:
    from app.jobs import service

    job_id = desk.submit()
    lease = desk.claim()
    assert lease is not None
    desk.do(service.cancel, job_id, ADMIN)
    desk.do(endings.lose, desk.job(job_id), {"code": "lease_expired"}, max_losses=3)
    assert desk.job(job_id).state == State.CANCELLED


def test_submitting_behind_jobs_that_are_being_claimed_and_ended_never_deadlocks(desk: Desk) -> None:
    """A claim locks the owner's turn and then a job; a submission behind that job must not lock them the other way round."""
    done = []

    def work() -> None:
        while len(done) < 40:
            lease = None
            with suppress(turns.Locked):
                lease = desk.claim()
            if lease is not None:
                desk.do(endings.succeed, lease.job.id, lease.token, {}, [], metrics={"device_seconds": 0.01})
                done.append(lease.job.id)

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work) for _ in range(3)]
        last = desk.submit()
        for _ in range(60):
            last = desk.submit(after=[Edge(job=last)])
        for worker in workers:
            worker.result()
