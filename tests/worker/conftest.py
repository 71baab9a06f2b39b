"""Fixtures: a service with real worker nodes, database and broker, and short leases, for tests that stop and kill nodes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session, sessionmaker

from app.auth.viewer import Viewer
from app.bell import Bell
from app.db import connect_args, make_sessions
from app.devices.models import Worker
from app.embedded.broker import Broker
from app.errors import Problem
from app.jobs import service
from app.jobs.models import Job, JobEvent
from app.jobs.schemas import Edge
from app.jobs.states import FINISHED
from app.jobs.submission import Asker
from app.settings import LeaseSettings, Settings
from tests.forked import Forking
from tests.worker.probe import acts  # also registers its kinds of jobs in this process

ROOT = Path(__file__).parents[2]
# Seconds. A worker stops its job when its last renewal, one every `ttl / 3`, is `ttl - margin` old: on a busy machine it may be held up for more
# than three seconds, and must not lose its job. With at_risk 0 every cell is committed at once.
LEASE = {
    "ttl": 12,
    "margin": 4.5,
    "watch": 0.3,
    "sweep": 0.5,
    "cancel_grace": 1.5,
    "kill_grace": 1,
    "slice": 1,
    "stall": 60,
    "at_risk": 0,
}
ADMIN = Viewer("ann", "admin")


class Node:
    """One worker node: Celery's parent process and its child. With `forking` the parent is forked, which starts faster."""

    def __init__(
        self, name: str, environment: dict[str, str], log: Path, application: str = "tests.worker.celery_app",
        forking: Forking | None = None,
    ) -> None:  # fmt: skip
        self.name, self.log = name, log
        job_class = name.split("-", maxsplit=1)[0]
        command = ["-m", "celery", "-A", application, "worker", "-n", f"{name}@here", "-Q", job_class]
        command += ["-P", "prefork", "-c", "1", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
        environment = {**environment, "BINNACLE_WORKER_CLASS": job_class}
        self.process = forking.start(command, env=environment, output=log) if forking else _started(command, environment, log)

    @property
    def id(self) -> str:
        return f"{self.name}@here"

    def child(self) -> int:
        """The pid of the process that runs jobs."""
        found = [p.pid for p in psutil.Process(self.process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        assert len(found) == 1, found
        return found[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(120)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(120)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"{self.name} did not stop:\n{self.log.read_text()[-3000:]}") from None


def _started(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *command], env=environment, stdout=output, stderr=output, cwd=ROOT, start_new_session=True
        )


class Service:
    """The database, broker, storage and worker nodes of one test, with helpers to submit and watch jobs."""

    def __init__(self, settings: Settings, folder: Path, forking: Forking | None = None) -> None:
        self.settings, self.folder, self.forking = settings, folder, forking
        self.bell = Bell(settings)
        # pre_ping: tests restart the database between two queries
        engine = create_engine(settings.database_url.get_secret_value(), pool_pre_ping=True, connect_args=connect_args())
        self.sessions: sessionmaker[Session] = make_sessions(engine, bell=self.bell)
        self.nodes: list[Node] = []

    def environment(self) -> dict[str, str]:
        urls = {
            name.upper(): getattr(self.settings, name).get_secret_value()
            for name in ("database_url", "broker_url", "storage_url")
        }
        lease = {f"BINNACLE_LEASE_{key.upper()}": str(value) for key, value in self.settings.lease.model_dump().items()}
        return {**os.environ, **urls, **lease, "BINNACLE_BROKER_PREFIX": self.settings.broker_prefix, "OMP_NUM_THREADS": "1"}

    def node(self, name: str = "light-0", *, application: str = "tests.worker.celery_app", **environment: str) -> Node:
        """Starts a node, and returns it once it has registered."""
        node = Node(name, {**self.environment(), **environment}, self.folder / f"{name}.log", application, self.forking)
        self.nodes.append(node)
        self.until(lambda: self._registered(node), f"{name} to register")
        return node

    def _registered(self, node: Node) -> bool:
        assert node.process.poll() is None, node.log.read_text()[-3000:]
        with self.sessions() as session:
            worker = session.get(Worker, node.id)
            return worker is not None and worker.parent_pid == node.process.pid

    def submit(self, owner: str = "ann", *, after: list[Edge] | None = None, job_class: str = "light", **spec: Any) -> str:
        request = service.Submission(
            kind=spec.pop("kind", "probe"), spec=spec, owner=owner, job_class=job_class, after=after or []
        )
        with self.sessions.begin() as session:
            return service.submit(session, request).job.id

    def cancel(self, job_id: str) -> None:
        with self.sessions.begin() as session:
            service.cancel(session, job_id, ADMIN)

    def retry(self, job_id: str) -> str:
        with self.sessions.begin() as session:
            return service.retry(session, Asker(ADMIN, self.settings), job_id).job.id

    def job(self, job_id: str) -> Job:
        with self.sessions() as session:
            return session.get_one(Job, job_id)

    def events(self, job_id: str) -> list[JobEvent]:
        with self.sessions() as session:
            return list(service.events(session, job_id, ADMIN, 0, 1000))

    def event_types(self, job_id: str) -> list[str]:
        return [event.type for event in self.events(job_id)]

    def until(self, true: Callable[[], Any], what: str, seconds: float = 120) -> Any:
        """Waits until `true()` is truthy and returns its value; fails with `what` and the logs of all nodes."""
        deadline = time.monotonic() + seconds
        while not (found := true()):
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {node.name}\n{node.log.read_text()[-2500:]}" for node in self.nodes)
                raise AssertionError(f"waited {seconds} s for {what}\n{logs}")
            time.sleep(0.1)  # each look is a query: more of them would take a tenth of a core from the nodes
        return found

    def ended(self, job_id: str, seconds: float = 120) -> Job:
        """The job, once it has ended."""
        self.until(lambda: self.job(job_id).state in FINISHED, f"{job_id} to end", seconds)
        return self.job(job_id)

    def acting(self, job_id: str) -> Job:
        """The job, once its probe does what it was told to do."""
        self.until(lambda: any(acts(node.log.read_text(), job_id) for node in self.nodes), f"the probe of {job_id} to act")
        return self.job(job_id)

    def running(self, job_id: str, *, cells: int = 0) -> Job:
        """The job, once it runs and has committed this many cells."""

        def there() -> bool:
            return self.job(job_id).state == "running" and self.event_types(job_id).count("cell") >= cells

        self.until(there, f"{job_id} to run")
        return self.job(job_id)

    def clear(self) -> None:
        """Cancels every job that has not ended, so that the nodes are free again."""
        with self.sessions() as session:
            left = list(session.scalars(select(Job.id).where(Job.state.not_in(FINISHED))))
        for job_id in left:
            with suppress(Problem):  # it ended meanwhile
                self.cancel(job_id)
            self.ended(job_id)

    def close(self) -> None:
        for node in self.nodes:
            if node.process.poll() is None:
                os.killpg(node.process.pid, signal.SIGKILL)
                node.process.wait(120)
        self.bell.close()
        self.sessions.kw["bind"].dispose()


def service_at(folder: Path, forking: Forking, database_url: str, broker_url: str, prefix: str, **lease: float) -> Service:
    """A service with these URLs, with storage and logs in `folder`; `lease` changes LEASE."""
    settings = Settings(
        database_url=database_url, broker_url=broker_url, storage_url=f"file://{folder}/objects", broker_prefix=prefix,
        lease=LeaseSettings(**{**LEASE, **lease}),
    )  # fmt: skip
    return Service(settings, folder, forking)


@pytest.fixture
def make_service(tmp_path: Path, forking: Forking) -> Iterator[Callable[..., Service]]:
    """A function that makes services like `service_at`, and closes them after the test."""
    made: list[Service] = []

    def make(database_url: str, broker_url: str, prefix: str, **lease: float) -> Service:
        made.append(service_at(tmp_path, forking, database_url, broker_url, prefix, **lease))
        return made[-1]

    yield make
    for service_ in made:
        service_.close()


@pytest.fixture
def live(make_service: Callable[..., Service], database_url: str, broker_url: str, broker_prefix: str) -> Service:
    """A service without nodes yet; `live.node()` starts one."""
    return make_service(database_url, broker_url, broker_prefix)


@pytest.fixture(scope="module")
def served(
    postgres_url_factory: Callable[[], str], broker: Broker, forking: Forking, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service with one light node for all tests of a module."""
    folder = tmp_path_factory.mktemp("served")
    service_ = service_at(folder, forking, postgres_url_factory(), broker.url, f"{folder.name}-{os.getpid()}:")
    service_.node()
    yield service_
    service_.close()


@pytest.fixture
def at_work(served: Service) -> Iterator[Service]:
    """`served`, for tests that harm neither the node nor the service; all jobs are cancelled after each test."""
    yield served
    served.clear()
