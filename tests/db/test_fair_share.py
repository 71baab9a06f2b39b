"""A lab at work: 20 users, 3 models, 4 devices, 800 claims (3,000 in the long run), by the real statements on a real Postgres, from threads
that race.

Only the running is simulated: a job takes a thousandth of the time that it might take, and so does a model to load. A device claims, loads
what it must, runs, yields when its slice is used up and others wait, and commits the ending, as the runner does.
"""

import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest
from sqlalchemy import insert

from app.ids import new_id
from app.jobs import claims, endings, turns
from app.jobs.claims import Claimer, Lease
from app.jobs.models import Job, OwnerTurn
from tests.db.conftest import Desk
from workers.lanes import GenerationsFirst

USERS = [f"user{i:02d}" for i in range(20)]
MODELS = ["small", "middle", "large"]
DEVICES = 4
ROOM = 2
"""Models that a device keeps loaded."""
SLICE = 0.3
"""Seconds after which a running job yields if others wait."""
LOAD = 0.02
"""Seconds to load a model."""
VERSIONS = {"probe": 1}


@dataclass
class Ledger:
    """What happened, written by all devices."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    started: dict[tuple[str, int], str] = field(default_factory=dict)
    """By job and lease token, the device that got it."""
    holders: dict[str, str] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    turns: list[tuple[float, str]] = field(default_factory=list)
    """The time of each start, and the owner of the job."""
    longest: float = 0.0
    loads: int = 0
    finished: int = 0

    def start(self, lease: Lease, device: str) -> None:
        with self.lock:
            if lease.job.id in self.holders or (lease.job.id, lease.token) in self.started:
                self.twice.append(lease.job.id)
            self.holders[lease.job.id] = device
            self.started[lease.job.id, lease.token] = device
            self.turns.append((time.monotonic(), lease.job.owner))

    def leave(self, lease: Lease, seconds: float, *, finished: bool) -> None:
        with self.lock:
            self.holders.pop(lease.job.id, None)
            self.longest = max(self.longest, seconds)
            self.finished += finished


class Device(threading.Thread):
    """One worker: what the runner, the context and the shelf do, with sleep for work."""

    def __init__(self, name: str, desk: Desk, ledger: Ledger, left: dict[str, float], stop: threading.Event) -> None:
        super().__init__(name=name)
        self.desk, self.ledger, self.left, self.stop_claiming = desk, ledger, left, stop
        self.loaded: list[str] = []
        self.lane = GenerationsFirst(SLICE)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop_claiming.is_set():
                claimer = Claimer(self.name, "model", 1, VERSIONS, list(self.loaded), self.lane.goes_first())
                lease = self.desk.do(claims.claim, claimer, ttl=60, slice_seconds=SLICE)
                if lease is None:
                    time.sleep(0.002)
                else:
                    self.serve(lease)
        except BaseException as error:
            self.error = error
            self.stop_claiming.set()

    def serve(self, lease: Lease) -> None:
        began = time.monotonic()
        self.ledger.start(lease, self.name)
        self.take(str(lease.job.model))
        while self.left[lease.job.id] > 0:
            step = min(0.02, self.left[lease.job.id])
            time.sleep(step)
            self.left[lease.job.id] -= step
            over = time.monotonic() - began >= max(SLICE, 5 * LOAD)
            if over and self.left[lease.job.id] > 0 and self.desk.do(turns.waiting, lease.job, VERSIONS).others:
                break
        seconds = time.monotonic() - began
        finished = self.left[lease.job.id] <= 0
        self.ledger.leave(lease, seconds, finished=finished)
        metrics = {"device_seconds": seconds}
        if finished:
            self.desk.do(endings.succeed, lease.job.id, lease.token, {}, [], metrics=metrics)
        else:
            self.desk.do(endings.requeue, lease.job.id, lease.token, "yielded", {}, metrics=metrics)

    def take(self, model: str) -> None:
        if model in self.loaded:
            self.loaded.remove(model)
        else:
            time.sleep(LOAD)
            with self.ledger.lock:
                self.ledger.loads += 1
            self.loaded = self.loaded[-(ROOM - 1) :]
        self.loaded.append(model)


@pytest.fixture(params=[800, pytest.param(3_000, marks=pytest.mark.long)])
def enough(request: pytest.FixtureRequest) -> int:
    """Claims until the lab closes."""
    return int(request.param)


@pytest.fixture
def lab(desk: Desk, enough: int) -> tuple[Desk, dict[str, float]]:
    """Every user's queue: most ask for one model mostly, two ask for jobs of many slices, and all have more than will be claimed."""
    rng = random.Random(7)
    left: dict[str, float] = {}
    rows = []
    for user in USERS:
        favourite = rng.choice(MODELS)
        lengths = [rng.expovariate(1 / 0.004) for _ in range(enough // len(USERS) + 15)]
        for seconds in [20 * SLICE, *lengths] if user in USERS[:2] else lengths:
            model = favourite if rng.random() < 0.7 else rng.choice(MODELS)
            rows.append({"id": new_id("job"), "owner": user, "model": model, "priority": 5 if seconds == 20 * SLICE else 0})
            left[rows[-1]["id"]] = seconds
    same = {"kind": "probe", "job_class": "model", "spec": {}, "spec_hash": "0" * 64, "event_seq": 1}
    with desk.sessions.begin() as session:
        session.execute(insert(Job), [{**same, **row} for row in rows])
        session.execute(insert(OwnerTurn), [{"owner": user, "lane": "model"} for user in USERS])
    return desk, left


def test_a_lab_at_work(lab: tuple[Desk, dict[str, float]], enough: int, capsys: pytest.CaptureFixture[str]) -> None:
    """No job is claimed twice, no user waits longer than users x (slice + load), and most claims find their model loaded."""
    desk, left = lab
    ledger, stop = Ledger(), threading.Event()
    devices = [Device(f"device{i}", desk, ledger, left, stop) for i in range(DEVICES)]
    began = time.monotonic()
    for device in devices:
        device.start()
    while len(ledger.turns) < enough and not stop.is_set():
        time.sleep(0.05)
    stop.set()
    for device in devices:
        device.join(120)
    took = time.monotonic() - began
    assert [device.error for device in devices] == [None] * DEVICES
    assert ledger.twice == []
    assert len(ledger.started) == len(ledger.turns) >= enough

    waits = _waits(ledger.turns, began)
    longest = max(max(gaps) for gaps in waits.values())
    # a slice as it really was on this machine: what a job had at most between its claim and its ending, loading included
    bound = len(USERS) * max(ledger.longest, SLICE) + len(USERS) * LOAD
    hits = 1 - ledger.loads / len(ledger.turns)
    overtakes = _overtakes(ledger.turns)
    with capsys.disabled():
        print(  # noqa: T201 - the figures are what this is run for
            f"\n{len(ledger.turns)} claims by {DEVICES} devices for {len(USERS)} users in {took:.0f} s: "
            f"{len(ledger.twice)} claimed twice; longest wait {longest:.2f} s (bound {bound:.2f} s); "
            f"most turns of one other user between two of one's own: {overtakes}; loaded model found {hits:.0%}"
        )
    assert longest <= bound
    assert hits > 0.75, "two of three models are loaded: two claims of three would find theirs by chance"
    assert max(Counter(user for _, user in ledger.turns).values()) <= 2 * enough / len(USERS), "shares are about equal"


def _waits(started: list[tuple[float, str]], began: float) -> dict[str, list[float]]:
    """By user, the times between one start and the next; every user has jobs queued all the while."""
    last: dict[str, float] = defaultdict(lambda: began)
    waits: dict[str, list[float]] = defaultdict(list)
    for at, user in sorted(started):
        waits[user].append(at - last[user])
        last[user] = at
    assert set(waits) == set(USERS)
    return waits


def _overtakes(started: list[tuple[float, str]]) -> int:
    """The most turns that another user had between two of one's own."""
    worst = 0
    between: dict[str, Counter[str]] = {user: Counter() for user in USERS}
    for _, user in sorted(started):
        worst = max(worst, max(between[user].values(), default=0))
        between[user] = Counter()
        for other in USERS:
            if other != user:
                between[other][user] += 1
    return worst
