"""No two transactions on jobs deadlock: each pair is run with the first held after each of its locks while the second runs."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from app.auth.viewer import Viewer
from app.bell import Bell
from app.ids import new_id
from app.jobs import editing, endings, service
from app.jobs.schemas import Edge, JobEdit
from app.retention import repository as retention
from app.settings import LeaseSettings, Settings
from app.studies.models import Study
from tests.db.conftest import ADMIN, Desk
from tests.db.interleaving import Interleaving, Operation, Undone
from workers.reconciler import Reconciler

OWNER = Viewer("ann", "member")
OPERATIONS = [
    "finish", "fail", "finish other", "cancel study", "cancel node", "sweep", "submit after", "share study", "edit report", "claim",
    "remove results",
]  # fmt: skip


class Scene:
    """A study with two finished nodes, two running ones, two that wait for these and two ready ones; each operation does one thing to it."""

    def __init__(self, desk: Desk, bell: Bell) -> None:
        undone: Any = Undone(desk.sessions)
        self.desk, self._reconciler = Desk(undone), Reconciler(undone, bell, LeaseSettings())
        self.over = [desk.submit(), desk.submit()]
        for _ in self.over:
            lease = desk.claim("w0")
            assert lease is not None
            desk.do(endings.succeed, lease.job.id, lease.token, {}, [], metrics={})
        self.running = [desk.submit(), desk.submit()]
        self.leases = [desk.claim(f"w{i}") for i in range(2)]
        waiting = [desk.submit(after=[Edge(job=one, needs="success")]) for one in self.running]
        ready = [desk.submit(), desk.submit()]
        self.nodes = [*self.over, *self.running, *waiting, *ready]
        self.report = desk.submit(kind="report", job_class="light", after=[Edge(job=one, needs="end") for one in self.nodes])
        nodes = {one: {"place": i, "job": one, "kind": "probe", "reused": False} for i, one in enumerate(self.nodes)}
        with desk.sessions.begin() as session:
            session.add(Study(id=new_id("std"), job_id=self.report, owner="ann", spec={}, nodes=nodes))
            session.execute(text("UPDATE jobs SET lease_expires_at = now() - interval '1 h' WHERE worker_id IS NOT NULL"))

    def operations(self) -> dict[str, Operation]:
        do, one, other = self.desk.do, *self.leases
        assert one is not None
        assert other is not None
        error = {"code": "broken", "detail": "It broke."}
        return {
            "finish": lambda: do(endings.succeed, one.job.id, one.token, {}, [], metrics={"device_seconds": 1}),
            "fail": lambda: do(endings.fail, one.job.id, one.token, error, metrics={"device_seconds": 1}),
            "finish other": lambda: do(endings.succeed, other.job.id, other.token, {}, [], metrics={"device_seconds": 1}),
            "cancel study": lambda: do(service.cancel, self.report, OWNER),
            "cancel node": lambda: do(service.cancel, self.nodes[-1], OWNER),
            "sweep": self._reconciler.sweep,
            "submit after": lambda: self.desk.submit(
                after=[Edge(job=job, needs="end") for job in (self.nodes[-3], self.running[1], self.running[0])]
            ),
            "share study": lambda: do(editing.edit, self.report, OWNER, JobEdit(visibility="public")),
            "edit report": lambda: do(editing.edit, self.report, ADMIN, JobEdit(name="renamed")),
            "claim": lambda: self.desk.claim("w9"),
            "remove results": lambda: do(retention.remove, [self.over[1], self.over[0]]),
        }


@pytest.fixture
def bell(broker_url: str, broker_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bell]:
    """For a reconciler that need not wait before it may declare leases expired."""
    monkeypatch.setattr(Reconciler, "_may_expire", lambda _self, _session: True)
    made = Bell(Settings(broker_url=broker_url, broker_prefix=broker_prefix))
    yield made
    made.close()


@pytest.fixture(params=["rising", pytest.param("falling", marks=pytest.mark.long)])
def ids(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Ids in the order of submission, and against it: the clocks of two API hosts differ."""
    numbers = itertools.count(1)
    made: Callable[[int], str] = {
        "rising": lambda n: f"{n:026d}",
        "falling": lambda n: f"{10**20 - n:026d}",
    }[request.param]
    monkeypatch.setattr("app.jobs.service.new_id", lambda prefix: f"{prefix}_{made(next(numbers))}")
    return str(request.param)


EVERY = range(1, 40)
SOME = (*range(1, 7), *range(7, 40, 4))
"""After which of its locks the first operation is held: each of the first six, then every fourth; in the long run all of them."""


def test_each_operation_succeeds_alone(desk: Desk, bell: Bell) -> None:
    """The pairs below ignore errors, as an operation may be refused after the other."""
    operations = Scene(desk, bell).operations()
    assert list(operations) == OPERATIONS
    done = {name: operation() for name, operation in operations.items()}
    assert (done["sweep"], done["claim"] is not None) == (2, True), "leases that ran out, and a job that is ready"


@pytest.mark.parametrize("first", OPERATIONS)
def test_no_pair_of_transactions_deadlocks(desk: Desk, bell: Bell, ids: str, first: str) -> None:
    interleaving = Interleaving(desk.sessions.kw["bind"])
    found: dict[tuple[str, int], Any] = {}
    operations = Scene(desk, bell).operations()
    with interleaving.watching():
        for second in OPERATIONS[OPERATIONS.index(first) :]:
            for after in EVERY if ids == "falling" else SOME:
                if not interleaving.run(operations[first], operations[second], after=after):
                    assert after > 1, f"{first} took no lock"
                    break
                if interleaving.deadlocks:
                    found[second, after] = interleaving.deadlocks.pop()
                    break
    assert not found, {pair: reason.splitlines()[0] for pair, reason in found.items()}
