"""A whole running service for tests to harm: `binnacle up` with chosen nodes, and the means to find the processes and jobs to strike.

Reads the database with plain SQL; jobs are submitted as the API submits them.
"""

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from app.auth.viewer import Viewer
from app.bell import Bell
from app.db import make_engine, make_sessions
from app.embedded.home import Running
from app.embedded.processes import working_in
from app.jobs import service
from app.jobs.submission import Submission
from app.settings import Settings
from tests.chaos.auditor import Row, connect
from tests.embedded.running import Up
from tests.services import make_quick_folder
from tests.worker.probe import acts  # also registers the job kind `probe`

ADMIN = Viewer("ann", "admin")
_STILL_RUNNING = "SELECT 1 FROM jobs WHERE id = %s AND attempt = %s AND state = 'running' FOR UPDATE SKIP LOCKED"


@dataclass(frozen=True)
class NodePlan:
    """One node: its name begins with its class."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    wrapper: Sequence[str] = ()


TWO_LIGHT = (NodePlan("light-0"), NodePlan("light-1"))


class _ChosenUp(Up):
    def program(self) -> list[str]:
        return ["tests.chaos.up"]


class Arena:
    """The running service. Leases are the product's own, unless `environment` sets others."""

    def __init__(self, nodes: Sequence[NodePlan] = TWO_LIGHT, environment: Mapping[str, str] | None = None) -> None:
        self.folder = make_quick_folder()
        plans = json.dumps([asdict(node) for node in nodes])
        self.up = _ChosenUp(self.folder / "home", environment, plans)
        self.nodes = nodes
        self.start()
        running = self.running
        settings = Settings(database_url=running.database_url, broker_url=running.broker_url)
        self._bell = Bell(settings)
        self._sessions: sessionmaker[Session] = make_sessions(make_engine(running.database_url), bell=self._bell)
        self.objects = Path(running.storage_url.removeprefix("file://"))

    @property
    def running(self) -> Running:
        return Running(**json.loads((self.up.home / "run.json").read_text()))

    def start(self) -> None:
        """Starts everything and waits until every node has registered."""
        self.up.start()
        self.until(lambda: self.registered() >= {node.name for node in self.nodes}, 90, "the nodes to register")

    def registered(self) -> set[str]:
        """Names of the nodes that registered within the last hour."""
        rows = self.sql("SELECT id FROM workers WHERE started_at > now() - interval '1 hour'")
        return {row["id"].split("@")[0] for row in rows}

    def close(self) -> None:
        """Stops everything and kills what is left."""
        if self.up.process and self.up.process.poll() is None:
            self.up.stop()
        for pid in self.up.everything():
            os.kill(pid, signal.SIGKILL)
        self._bell.close()
        self._sessions.kw["bind"].dispose()
        shutil.rmtree(self.folder, ignore_errors=True)

    def submit(self, label: str, owner: str = "ann", *, job_class: str = "light", **spec: Any) -> str:
        """One probe job, as the API would submit it: again where the database ended the connection since it was used last."""
        request = Submission(kind="probe", spec=spec, owner=owner, job_class=job_class, name=label)
        try:
            with self._sessions.begin() as session:
                return service.submit(session, request).job.id
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        with self._sessions.begin() as session:
            return service.submit(session, request).job.id

    def session(self) -> Session:
        """For what a worker would do in this process; the caller closes it."""
        return self._sessions()

    def cancel(self, job: str) -> None:
        with self._sessions.begin() as session:
            service.cancel(session, job, ADMIN)

    def sql(self, statement: str, *values: Any, patience: float = 60) -> list[Row]:
        """Rows of a statement on a connection of its own; waits for a database that is away."""
        deadline = time.monotonic() + patience
        while True:
            try:
                with connect(self.running.database_url) as connection:
                    cursor = connection.execute(statement, values)
                    return cursor.fetchall() if cursor.description else []
            except (psycopg.OperationalError, OSError, ValueError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def held(self, label: str, *, node: str = "") -> list[Row]:
        """Running jobs that no fault has hit since their last finished part, the oldest start first."""
        statement = (
            "SELECT * FROM jobs WHERE name = %s AND state = 'running' AND losses = 0 AND worker_id LIKE %s ORDER BY started_at"
        )
        return self.sql(statement, label, f"{node}%")

    def acting(self, label: str, count: int) -> list[Row]:
        """So many running jobs, once the probe of each does what it was told to do."""

        def found() -> list[Row]:
            rows, logs = self.held(label), self.logs()
            return rows if len(rows) == count and all(acts(logs, row["id"]) for row in rows) else []

        rows: list[Row] = self.until(found, 60, f"{count} probes of {label} to act")
        return rows

    def victim(self, label: str, *, node: str = "", seconds: float = 60) -> Row:
        """A running job to strike at: the one that began last, so that it has most before it."""
        return self.until(lambda: self.held(label, node=node), seconds, f"a running job of {label}")[-1]

    def frozen(self, label: str, *, node: str = "") -> tuple[Row, list[int]]:
        """A running job whose node is stopped in the middle of it, and the ids of the stopped parent and child: it cannot end before it is
        struck, however busy the machine is. A job that is just ending is locked by its end, and is not taken.
        """

        def caught() -> tuple[Row, list[int]] | None:
            job = self.victim(label, node=node)
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                pids = [parent_of(job["child_pid"]), job["child_pid"]]
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                if self.sql(_STILL_RUNNING, job["id"], job["attempt"]):
                    return job, pids
                thaw(pids)
            return None

        frozen: tuple[Row, list[int]] = self.until(caught, 60, f"{node or 'a node'} frozen in the middle of a job")
        return frozen

    def broker_pid(self) -> int:
        return working_in(self.up.home / "broker" / "data")[0]

    def api_pid(self) -> int:
        return self.up.processes("tests.chaos.server")[0]

    def until(self, true: Callable[[], Any], seconds: float, what: str) -> Any:
        """The first true value of `true()`; fails, naming `what` was waited for, when there is none in time."""
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{self.up.output()[-3000:]}\n{self.logs()}"
            time.sleep(0.05)
        return found

    def logs(self, characters: int = 2000) -> str:
        """The end of every node's log."""
        files = [self.up.home / "logs" / f"{node.name}.log" for node in self.nodes]
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-characters:]}" for file in files if file.exists())


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def thaw(pids: Sequence[int]) -> None:
    """Lets stopped processes continue; those killed meanwhile are left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def parent_of(pid: int) -> int:
    """The process that started this one."""
    found = psutil.Process(pid).ppid()
    assert found > 1
    return found


def gone(pid: int | None) -> bool:
    """Whether a process runs no more; its parent may not have taken note yet."""
    try:
        return pid is None or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # no other look comes first: it may end between the two
        return True
