"""Generations go before other jobs, and never take more than half of a device."""

import pytest
from sqlalchemy import text

from app.jobs import claims, endings, turns
from app.jobs.claims import Claimer, Lease
from app.jobs.models import Job
from app.jobs.standing import standings
from tests.db.conftest import Desk
from workers.lanes import GenerationsFirst

VERSIONS = {"probe": 1, "glance": 1}


class Lanes(Desk):
    """A desk that also submits generations, and sets quotas."""

    def generate(self, owner: str = "ann", **facts: object) -> str:
        """Submits a generation."""
        return self.submit(owner, kind="glance", **facts)

    def take(self, worker: str = "w", *, short_first: bool = True, models: list[str] | None = None) -> Lease | None:
        """Claims a job. `short_first`: whether the worker lets generations go first."""
        claimer = Claimer(worker, "model", 1, VERSIONS, models or [], short_first)
        return self.do(claims.claim, claimer, ttl=60, slice_seconds=300)

    def all_taken(self, *, short_first: bool = True) -> list[str]:
        """Claims until no job is ready; returns their ids in order."""
        ids = []
        while (lease := self.take(short_first=short_first)) is not None:
            ids.append(lease.job.id)
        return ids

    def limit(self, owner: str, running: int) -> None:
        with self.sessions.begin() as session:
            session.execute(
                text("INSERT INTO quotas (owner, max_running, changed_by) VALUES (:owner, :running, 'root')"),
                {"owner": owner, "running": running},
            )


@pytest.fixture
def lanes(desk: Desk) -> Lanes:
    return Lanes(desk.sessions)


def test_generations_go_before_other_jobs_and_take_turns_among_themselves(lanes: Lanes) -> None:
    long = [lanes.submit("ann"), lanes.submit("bob")]
    generations = [lanes.generate("ann"), lanes.generate("ann"), lanes.generate("bob")]
    assert lanes.all_taken() == [generations[0], generations[2], generations[1], *long]


def test_without_credit_generations_come_last_but_no_worker_idles_for_that(lanes: Lanes) -> None:
    generation, long = lanes.generate(), lanes.submit("bob")
    assert lanes.all_taken(short_first=False) == [long, generation]


def test_a_generation_does_not_use_its_owners_turn_but_its_seconds_count(lanes: Lanes) -> None:
    lanes.submit("ann")
    lanes.submit("bob")
    lanes.generate("ann")
    generation = lanes.take()
    assert generation is not None
    with lanes.sessions() as session:
        assert [row.lane for row in session.execute(text("SELECT lane FROM owner_turns WHERE last_started > 'epoch'"))] == [
            "short"
        ]
    lanes.do(endings.succeed, generation.job.id, generation.token, {}, [], metrics={"device_seconds": 60.0})
    with lanes.sessions() as session:
        rows = session.execute(text("SELECT lane, recent_seconds FROM owner_turns WHERE owner = 'ann'")).all()
        seconds = {row.lane: row.recent_seconds for row in rows}
    assert seconds == {"short": pytest.approx(60.0), "model": pytest.approx(60.0)}
    first = lanes.take()
    assert first is not None
    assert first.job.owner == "bob", "ann has used the device for a minute; bob has not"


def test_the_lane_of_generations_pays_back_its_lead_second_for_second() -> None:
    lane = GenerationsFirst(300)
    assert lane.goes_first()
    for _ in range(10):
        lane.ran(short=True, seconds=30)
    assert not lane.goes_first(), "a whole slice ahead: the others' turn"
    assert lane.goes_first(running_seconds=20), "as soon as one of them runs, the lane earns again"
    lane.ran(short=False, seconds=1000)
    lane.ran(short=True, seconds=299)
    assert lane.goes_first(), "time of other jobs is not saved up beyond nothing owed"
    lane.ran(short=True, seconds=2)
    assert not lane.goes_first()


def test_under_endless_generations_other_jobs_keep_half_of_the_device() -> None:
    """Plays the rules of the runner and the context: generations of 10 s while the lane goes first, else a job that makes room after 20 s."""
    lane, used = GenerationsFirst(300), {True: 0.0, False: 0.0}
    for _ in range(2000):
        short = lane.goes_first()
        seconds = 10.0
        if not short:
            seconds = next(s for s in (20.0, 40.0, 300.0) if lane.goes_first(s) or s == 300)
        lane.ran(short=short, seconds=seconds)
        used[short] += seconds
    assert 0.45 < used[False] / sum(used.values()) < 0.55


def test_waiting_generations_and_jobs_of_other_users_are_told_apart(lanes: Lanes) -> None:
    lanes.submit("ann")
    held = lanes.take()
    assert held is not None

    def waiting(job: Job = held.job) -> tuple[bool, bool]:
        found = lanes.do(turns.waiting, job, VERSIONS)
        return found.short, found.others

    assert waiting() == (False, False)
    lanes.submit("ann")
    assert waiting() == (False, False), "one's own jobs wait for their own turn"
    lanes.submit("bob", job_class="light")
    assert waiting() == (False, False), "light jobs need no device"
    lanes.generate("ann")
    assert waiting() == (True, False), "a generation of one's own is worth making room for"
    lanes.submit("bob")
    assert waiting() == (True, True)


def test_a_running_job_makes_no_room_for_jobs_that_could_not_run(lanes: Lanes) -> None:
    lanes.limit("bob", 1)
    lanes.submit("bob")
    assert lanes.take("w1") is not None
    lanes.submit("bob")
    newer = lanes.submit("cat")
    with lanes.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET handler_version = 2 WHERE id = :id"), {"id": newer})
    lanes.submit("ann")
    held = lanes.take("w2")
    assert held is not None
    found = lanes.do(turns.waiting, held.job, VERSIONS)
    assert not found.others, "bob's quota holds him back, cat's job needs a newer worker"
    lanes.submit("dan")
    assert lanes.do(turns.waiting, held.job, VERSIONS).others


def test_a_users_running_job_makes_room_for_the_users_generation_despite_the_quota(lanes: Lanes) -> None:
    lanes.limit("ann", 1)
    lanes.submit("ann")
    held = lanes.take()
    assert held is not None
    lanes.generate("ann")
    assert lanes.do(turns.waiting, held.job, VERSIONS).short


def test_generations_stand_before_other_jobs_in_the_queue(lanes: Lanes) -> None:
    ids = [lanes.submit("ann"), lanes.submit("bob"), lanes.generate("bob"), lanes.generate("ann")]
    found = lanes.do(standings, [lanes.job(job) for job in ids], None, slice_seconds=300)
    places = {job: found[job].position or 0 for job in ids}
    assert list(places.values()) == [3, 4, 2, 1]
    assert sorted(ids, key=places.__getitem__) == lanes.all_taken()


def test_the_oldest_job_is_overtaken_sixteen_times_for_a_loaded_model_and_no_more(lanes: Lanes) -> None:
    """A user who keeps asking for the loaded model must not starve a job of their own."""
    old = lanes.submit("ann", model="a")
    order = []
    for _ in range(turns.LOOKAHEAD + 4):
        lanes.submit("ann", model="b")
        lease = lanes.take(models=["b"])
        assert lease is not None
        order.append(lease.job.id)
    assert order.index(old) == turns.LOOKAHEAD
