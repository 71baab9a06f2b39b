"""Jobs in a real, migrated database, without workers: the tests play them."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

import tests.worker.probe  # noqa: F401 - registers the kinds `probe` and `glance` (a generation), which have no result table
from app.auth.viewer import Viewer
from app.db import make_engine, make_sessions
from app.jobs import claims, service
from app.jobs.claims import Claimer, Lease
from app.jobs.models import Job
from app.jobs.schemas import Edge

ADMIN = Viewer("root", "admin")


class Desk:
    """Submits and claims jobs as API and workers do, in one transaction for each call."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self.sessions = sessions

    def submit(self, owner: str = "ann", *, after: list[Edge] | None = None, **facts: Any) -> str:
        request = service.Submission(
            kind=facts.pop("kind", "probe"),
            spec=facts.pop("spec", {}),
            owner=owner,
            job_class=facts.pop("job_class", "model"),
            after=after or [],
            **facts,
        )
        with self.sessions.begin() as session:
            return service.submit(session, request).job.id

    def claim(
        self, worker: str = "w", *, models: list[str] | None = None, job_class: str = "model", pid: int = 1
    ) -> Lease | None:
        claimer = Claimer(worker, job_class, pid, {"probe": 1, "calibrate": 1, "inspect": 1}, models or [])
        with self.sessions.begin() as session:
            return claims.claim(session, claimer, ttl=60, slice_seconds=300)

    def do(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a function of a session returns, run in a transaction that commits."""
        with self.sessions.begin() as session:
            return work(session, *args, **kwargs)

    def wait_until_up_for(self, seconds: float) -> None:
        """Returns once the database has been up for so long: leases that expire around its start are not charged."""
        up_for = text("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())")
        with self.sessions() as session:
            while session.scalar(up_for) < seconds:
                time.sleep(0.1)

    def job(self, job_id: str) -> Job:
        with self.sessions() as session:
            return session.get_one(Job, job_id)


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    engine = make_engine(database_url, pool_size=20)
    yield Desk(make_sessions(engine))
    engine.dispose()


@pytest.fixture
def make_client() -> Iterator[Callable[[str], Any]]:
    """Plain connections to the broker."""
    from app.embedded.broker import connect

    made: list[Any] = []

    def make(url: str) -> Any:
        made.append(connect(url))
        return made[-1]

    yield make
    for client in made:
        client.close()
