"""How many messages and transactions a job costs the database, counted by a proxy between worker and database."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

import tests.worker.probe  # noqa: F401 - registers the kinds of jobs in this process too
from app.bell import Bell
from app.db import make_engine, make_sessions
from app.devices.models import Worker
from app.jobs import service
from app.jobs.kinds import handler_versions
from app.jobs.models import Job, JobCell, JobEvent
from app.settings import LeaseSettings, Settings
from app.storage.local import LocalStorage
from tests.counting import Proxy
from workers import heartbeat, runner
from workers.handlers import HANDLERS
from workers.job import HOW_COMPUTED, JobContext, JobFault, Outcome
from workers.lanes import GenerationsFirst
from workers.process import WorkerProcess


class Child:
    """A worker's child within this process, connected through a counting proxy; its jobs call `do`."""

    def __init__(self, url: str, broker_url: str, prefix: str, folder: Path, **lease: float) -> None:
        self.proxy = Proxy(url)
        settings = Settings(
            database_url=url, broker_url=broker_url, broker_prefix=prefix, storage_url=f"file://{folder}/objects",
            lease=LeaseSettings(**lease),
        )  # fmt: skip
        self.sessions = make_sessions(make_engine(url))  # the test's own, not counted
        self.process = WorkerProcess(
            settings=settings,
            worker_id="model-0@here",
            job_class="model",
            sessions=make_sessions(make_engine(self.proxy.start(), pool_size=3)),
            storage=LocalStorage(folder / "objects"),
            bell=Bell(settings),
            versions=handler_versions(),
            generations=GenerationsFirst(settings.lease.slice),
        )
        with self.sessions.begin() as session:
            session.add(
                Worker(id="model-0@here", job_class="model", device="cpu", host="here", parent_pid=os.getpid(), version="0")
            )
        self.do: Callable[[JobContext], Any] = lambda _context: None

    def handle(self, _spec: dict[str, Any], context: JobContext) -> Outcome:
        return Outcome({"found": self.do(context)})

    def job(self, kind: str = "glance") -> str:
        """Submits a job, runs it to its end and returns its id."""
        with self.sessions.begin() as session:
            job_id = service.submit(session, service.Submission(kind=kind, spec={}, owner="ann", job_class="model")).job.id
        assert runner.run_next(self.process)
        return job_id

    def events(self, job_id: str) -> list[str]:
        """The types of the job's events, without the cells that say how it is computed."""
        with self.sessions() as session:
            events = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq))
            return [event.type for event in events if event.data.get("cell") not in HOW_COMPUTED]

    def state(self, job_id: str) -> Job:
        with self.sessions() as session:
            return session.get_one(Job, job_id)

    def cells(self) -> int:
        with self.sessions() as session:
            return len(session.scalars(select(JobCell.cell).where(JobCell.cell.not_in(HOW_COMPUTED))).all())

    def close(self) -> None:
        self.process.bell.close()
        for sessions in (self.sessions, self.process.sessions):
            sessions.kw["bind"].dispose()


@pytest.fixture
def make_child(
    database_url: str, broker_url: str, broker_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Child]]:
    """A function that makes a child and runs a first job, which also writes the memory of the node."""
    made: list[Child] = []
    monkeypatch.setattr(heartbeat, "GATHER_SECONDS", 30.0, raising=False)  # a busy machine must not make it write earlier

    def make(**lease: float) -> Child:
        child = Child(database_url, broker_url, broker_prefix, tmp_path, **lease)
        made.append(child)
        monkeypatch.setitem(HANDLERS, "glance", "tests.worker.test_messages:handled")
        monkeypatch.setitem(HANDLERS, "probe", "tests.worker.test_messages:handled")
        monkeypatch.setattr("tests.worker.test_messages.handled", child.handle, raising=False)
        child.job()
        return child

    yield make
    for child in made:
        child.close()


def _phases(context: JobContext) -> None:
    context.phase("reading", 1, "prompts")
    context.progress(1)
    context.phase("answering", 2, "answers")
    context.progress(2)


def test_a_short_job_is_one_transaction_at_its_start_and_one_at_its_end(make_child: Callable[..., Child]) -> None:
    child = make_child()
    child.do = _phases
    commits, turns = child.proxy.commits, child.proxy.turns
    job = child.job()
    assert child.events(job) == ["submitted", "started", "phase", "phase", "succeeded"]
    found = child.state(job)
    assert (found.phase, found.progress_done, found.progress_total, found.progress_unit) == ("done", 2, 2, "answers")
    spent = child.proxy.commits - commits, child.proxy.turns - turns
    assert spent[0] == 2 and spent[1] <= 15, spent  # noqa: PT018 - both are told


def test_a_claim_takes_at_most_five_statements(make_child: Callable[..., Child]) -> None:
    child = make_child()
    asked: list[str] = []
    with child.sessions.begin() as session:
        for kind in ("probe", "glance", "glance"):
            service.submit(session, service.Submission(kind=kind, spec={}, owner="bob", job_class="model", model="m"))
    event.listen(child.process.sessions.kw["bind"], "before_cursor_execute", lambda *about: asked.append(about[2]))
    event.listen(child.process.sessions.kw["bind"], "savepoint", lambda _connection, name: asked.append(name))
    for _ in range(3):
        asked.clear()
        _, lease = runner._claim(child.process)
        assert lease is not None
        assert 0 < len(asked) <= 5, asked


def test_cells_finished_in_quick_succession_are_committed_in_one_transaction(make_child: Callable[..., Child]) -> None:
    child = make_child(at_risk=600)

    def twenty(context: JobContext) -> list[bytes | None]:
        context.phase("answering", 20, "answers")
        for n in range(20):
            context.commit_cell(f"run/{n}", b"%d" % n)
            context.progress(n + 1)
        return [found.decode() for n in (0, 19) if (found := context.cell(f"run/{n}"))]

    child.do = twenty
    commits = child.proxy.commits
    job = child.job("probe")
    assert child.state(job).result == {"found": ["0", "19"]}, "a cell that is not committed yet can be read"
    assert child.events(job) == ["submitted", "started", "phase", *["cell"] * 20, "succeeded"]
    assert child.cells() == 20
    assert child.proxy.commits - commits == 4, "the claim, the objects, the cells, the end"


def test_no_more_than_at_risk_seconds_of_work_stay_uncommitted(make_child: Callable[..., Child]) -> None:
    child = make_child(at_risk=0.2)
    seen: list[int] = []

    def slow(context: JobContext) -> None:
        context.commit_cell("run/0", b"0")
        time.sleep(0.3)
        context.commit_cell("run/1", b"1")  # 0.3 s of work, more than `at_risk`
        seen.append(child.cells())
        context.commit_cell("run/2", b"2")
        time.sleep(0.3)
        context.check()  # commits run/2, although no further cell comes
        seen.append(child.cells())

    child.do = slow
    child.job("probe")
    assert seen == [2, 3]


@pytest.mark.parametrize("ends", ["fault", "bug", "memory"])
def test_finished_cells_outlive_the_failure_of_their_job(make_child: Callable[..., Child], ends: str) -> None:
    child = make_child(at_risk=600)

    def fails(context: JobContext) -> None:
        context.commit_cell("run/0", b"0")
        raise {"fault": JobFault("broken", "It broke."), "bug": ZeroDivisionError(), "memory": MemoryError()}[ends]

    child.do = fails
    job = child.job("probe")
    assert child.state(job).state == "failed"
    assert child.cells() == 1
