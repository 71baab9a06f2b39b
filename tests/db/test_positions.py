"""Positions in the queue and the counts of the status board are those of a naive computation, for hundreds of random jobs."""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.jobs.models import Job
from app.jobs.standing import standings
from app.status import repository as status
from tests.db.conftest import ADMIN, Desk

OWNERS = [f"user{n}" for n in range(12)]
SLICE = 300
_TURN = text(
    "INSERT INTO owner_turns (owner, lane, last_started, recent_seconds) VALUES (:owner, :lane, to_timestamp(:started), :recent)"
)
_JOB = text("""
INSERT INTO jobs (id, kind, job_class, short, owner, visibility, model, priority, spec, spec_hash, state, blockers, worker_id, queued_at)
VALUES (:id, 'probe', :job_class, :short, :owner, :visibility, :model, :priority, '{}', 'x', :state, :blockers, :worker,
    now() - make_interval(secs => :age))""")
Turns = dict[str, list[str]]
"""Owners by lane, in the order of their turns."""


def _fill(session: Session, seed: int) -> Turns:
    """Adds 500 jobs in all lanes and states; one owner has no turn in the lane of light jobs. Returns the turns."""
    draw = random.Random(seed)
    turns: Turns = {}
    for lane in ("short", "model", "light"):
        scores = {}
        for n, owner in enumerate(draw.sample(OWNERS, 12 if lane != "light" else 11)):
            recent = draw.choice([0, 100, 200, 300, 900])
            session.execute(_TURN, {"owner": owner, "lane": lane, "started": 7 * n, "recent": recent})
            scores[owner] = 7 * n + min(SLICE, recent)  # no two are equal, or nearer to each other than a second
        turns[lane] = sorted(scores, key=scores.__getitem__)
    for n in range(500):
        job_class = draw.choice(["model", "model", "light"])
        state = draw.choice(["queued"] * 8 + ["running", "cancelling", "succeeded"])
        session.execute(
            _JOB,
            {
                "id": f"job_{n:026}", "job_class": job_class, "short": job_class == "model" and draw.random() < 0.4,
                "owner": draw.choice(OWNERS[: draw.choice([3, 12])]), "visibility": draw.choice(["private", "public"]),
                "model": draw.choice([None, "m0", "m1"]), "priority": draw.choice([0, 0, 0, 1, -1]), "state": state,
                "blockers": draw.choice([0, 0, 0, 2]) if state == "queued" else 0,
                "worker": f"w{n}" if state in ("running", "cancelling") else None, "age": n,
            },
        )  # fmt: skip
    return turns


def _order(jobs: list[Row[Any]], owners: list[str]) -> list[str]:
    """Plays the turns of a lane: in each round, every owner starts a job."""
    queues = [sorted((j for j in jobs if j.owner == owner), key=lambda j: (-j.priority, j.id)) for owner in owners]
    return [job.id for started in itertools.zip_longest(*queues) for job in started if job is not None]


def _positions(jobs: list[Row[Any]], turns: Turns) -> dict[str, int]:
    """Plays the whole queue: generations first."""
    ready = [job for job in jobs if job.state == "queued" and not job.blockers]
    short, model, light = [], [], []
    for job in ready:
        (light if job.job_class == "light" else short if job.short else model).append(job)
    on_devices = _order(short, turns["short"]) + _order(model, turns["model"])
    return {job_id: n for order in (on_devices, _order(light, turns["light"])) for n, job_id in enumerate(order, start=1)}


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
def session(desk: Desk, request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session whose statements are planned once or each time; the server prepares all of them."""
    with desk.sessions() as opened:
        opened.connection().connection.driver_connection.prepare_threshold = 0  # type: ignore[union-attr]
        opened.execute(text(f"SET LOCAL plan_cache_mode = {request.param}"))
        yield opened


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_positions_and_counts_are_those_of_a_naive_computation(session: Session, seed: int) -> None:
    turns = _fill(session, seed)
    jobs: list[Row[Any]] = list(session.execute(select(*Job.__table__.columns).order_by(Job.id)))
    expected = _positions(jobs, turns)
    standing = standings(session, jobs, ADMIN, slice_seconds=SLICE)
    assert {job_id: place.position for job_id, place in standing.items() if place.position is not None} == expected
    assert set(standing) == {job.id for job in jobs if job.state == "queued"}
    assert any(job.owner not in turns["light"] and job.job_class == "light" for job in jobs)
    for viewer in (ADMIN, Viewer("user1", "member"), Viewer("user11", "member")):
        board = status.waiting(session, viewer, slice_seconds=SLICE)
        assert [(row.job, row.position) for row in board] == _next(jobs, viewer, expected)
        assert [row.waits_because for row in board] == [
            standings(session, jobs, viewer, slice_seconds=SLICE)[row.job].reason for row in board
        ]
    assert [position for _, position in _next(jobs, ADMIN, expected)] == sorted(expected.values())[: status.SHOWN]
    _compare_counts(session, jobs)


def _next(jobs: list[Row[Any]], viewer: Viewer, expected: dict[str, int]) -> list[tuple[str, int | None]]:
    """Returns what the board should show: visible jobs among the first of each owner's in each lane, then others."""
    queues: dict[tuple[str, str, bool], list[Row[Any]]] = defaultdict(list)
    for job in sorted(jobs, key=lambda job: (-job.priority, job.id)):
        if job.id in expected:
            queues[job.owner, job.job_class, job.short].append(job)
    early = {job.id for queue in queues.values() for job in queue[: status.SHOWN]}
    visible = [
        job
        for job in jobs
        if job.state == "queued" and (viewer.is_admin or job.owner == viewer.owner or job.visibility == "public")
    ]
    first = sorted((job.id for job in visible if job.id in early), key=lambda one: (expected[one], one))[: status.SHOWN]
    others = sorted((job.blockers > 0, job.id) for job in visible if job.id not in first)
    shown = first + [job_id for _, job_id in others[: status.SHOWN - len(first)]]
    return [(one, expected.get(one)) for one in sorted(shown, key=lambda one: expected.get(one, 1_000))]


def test_a_job_that_overtakes_hundreds_is_on_the_board(session: Session) -> None:
    """The board looked at the oldest 200 jobs, and showed others as the next ones."""
    turns = _fill(session, 5)
    owner, latest = turns["short"][0], f"job_{499:026}"
    session.execute(
        text("""UPDATE jobs SET state = 'queued', blockers = 0, worker_id = NULL, job_class = 'model', short = true, priority = 5,
            owner = :owner WHERE id = :id"""),
        {"owner": owner, "id": latest},
    )
    for viewer in (ADMIN, Viewer(owner, "member")):
        assert (latest, 1) in [(row.job, row.position) for row in status.waiting(session, viewer, slice_seconds=SLICE)]


def _compare_counts(session: Session, jobs: list[Row[Any]]) -> None:
    """Compares the counts by queue and model with those of the rows."""
    counts: dict[tuple[str, str, str | None], Counter[str]] = defaultdict(Counter)
    oldest: dict[tuple[str, str, str | None], Any] = {}
    for job in jobs:
        if job.state != "succeeded":
            key = (job.job_class, "short" if job.short else job.job_class, job.model)
            counts[key]["running" if job.state != "queued" else "waiting" if job.blockers else "queued"] += 1
            if job.state == "queued" and not job.blockers:
                oldest[key] = min(job.queued_at, oldest.get(key, job.queued_at))
    now = session.scalar(text("SELECT now()"))
    board = status.queues(session)
    assert {(row.job_class, row.lane, row.model): row.oldest_seconds for row in board} == {
        key: pytest.approx((now - oldest[key]).total_seconds()) if key in oldest else None for key in counts
    }
    for row in board:
        of_row = counts[row.job_class, row.lane, row.model]
        assert (row.queued, row.waiting, row.running) == (of_row["queued"], of_row["waiting"], of_row["running"])


def test_with_few_waiting_jobs_those_that_wait_for_others_come_last(session: Session) -> None:
    turns = _fill(session, 4)
    session.execute(text("DELETE FROM jobs WHERE right(id, 3)::int > 40"))
    jobs: list[Row[Any]] = list(session.execute(select(*Job.__table__.columns).where(Job.state == "queued").order_by(Job.id)))
    expected = _positions(jobs, turns)
    assert 0 < len(expected) < len(jobs)
    session.execute(text("DELETE FROM jobs WHERE id = ANY(:ids)"), {"ids": sorted(expected, key=expected.__getitem__)[5:]})
    board = status.waiting(session, ADMIN, slice_seconds=SLICE)
    assert [row.position is None for row in board] == sorted(row.position is None for row in board)
    assert "after_jobs" in {row.waits_because.code for row in board if row.position is None and row.waits_because}
