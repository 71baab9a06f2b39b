"""What the pages and lists that people look at most cost in a database of 100,000 jobs: `python -m tests.benchmarks.bench_lists [JOBS]`.

The database is that of `tests.db.crowd`. Milliseconds of CPU of this process and of its Postgres backend together, best and median of 30
after two to warm up, and the median at the client; default settings of the planner, fsync off, one client, the session open already. Then
one batch each of retention, of objects without a row, and of objects without references. The first line says how fast the machine is:
compare only figures of equal loops.
"""

# ruff: noqa: T201 - it prints
import hashlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from app.db import make_engine, make_sessions
from app.embedded.postgres import Postgres
from app.migrate import upgrade
from app.retention import history_repository
from app.retention.service import ITSELF, Removal
from app.storage.blobs import adopt_orphans, collect
from app.storage.factory import open_storage
from tests.benchmarks.bench_requests import cpu_ms
from tests.db.crowd import fill
from tests.db.listed import NAMED
from tests.services import make_quick_folder

ORPHANS = 1_000
AUDIT = """
INSERT INTO audit (id, at, actor, action, object)
SELECT 'aud_' || n, now() - interval '400 days', 'ada', 'job.cancel', 'job_' || n FROM generate_series(1, 4000) AS n"""


def loop_seconds() -> float:
    """CPU seconds of 20 million additions, to compare machines and hours."""
    began, total = time.process_time(), 0
    for n in range(20_000_000):
        total += n
    return time.process_time() - began


def cost(sessions: sessionmaker[Session], work: Callable[[Session], object]) -> tuple[float, float]:
    """CPU milliseconds of this process and its backend, and milliseconds at the client; commits."""
    with sessions.begin() as session:
        backend = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        before, began = cpu_ms(os.getpid()) + cpu_ms(backend), time.perf_counter()
        work(session)
        taken = (time.perf_counter() - began) * 1000
        return cpu_ms(os.getpid()) + cpu_ms(backend) - before, taken


def lists(sessions: sessionmaker[Session]) -> None:
    print(f"{'':40} best CPU  median CPU  median at the client")
    for name, work in {"a statement that reads nothing": lambda s: s.execute(text("SELECT 1")).all(), **NAMED}.items():
        found = [cost(sessions, work) for _ in range(32)][2:]
        cpu, taken = zip(*found, strict=True)
        print(f"{name:40} {min(cpu):8.1f}  {statistics.median(cpu):10.1f}  {statistics.median(taken):10.1f}", flush=True)


def batches(sessions: sessionmaker[Session], folder: Path) -> None:
    """One batch of each kind of removal."""
    works: dict[str, Callable[[Session], object]] = {
        "removing 200 old results": Removal(100, ITSELF).batch,
        "removing 2,000 audit entries": lambda s: history_repository.remove_audit(s, 100, most=2_000),
    }
    with sessions.begin() as session:
        session.execute(text(AUDIT))
    for name, work in works.items():
        cpu, taken = cost(sessions, work)
        print(f"{name:40} {cpu:8.0f} CPU  {taken:10.0f} at the client", flush=True)
    storage = open_storage(f"file://{folder}/objects")
    for n in range(ORPHANS):
        data = f"orphan {n}".encode()
        storage.put("sha256/" + hashlib.sha256(data).hexdigest(), data)
    for name, housekeeping in {
        "orphans given a row, for each": lambda: adopt_orphans(sessions, storage, min_age_seconds=0),
        "unreferenced objects deleted, for each": lambda: collect(sessions, storage, min_age_seconds=0).objects,
    }.items():
        began, before = time.perf_counter(), cpu_ms(os.getpid())
        done = housekeeping()
        each, cpu = (time.perf_counter() - began) * 1000 / done, (cpu_ms(os.getpid()) - before) / done
        print(f"{name:40} {cpu:8.2f} CPU of the process alone  {each:10.2f} at the client, {done}", flush=True)


def main(jobs: int) -> None:
    """Fills a database and prints a line for each statement."""
    print(f"20 million additions: {loop_seconds():.1f} s of CPU, load {os.getloadavg()[0]:.1f}", flush=True)
    folder = make_quick_folder()
    server = Postgres(folder / "pg", durable=False)
    server.start()
    try:
        upgrade(server.url)
        engine = make_engine(server.url, pool_size=2)
        began = time.monotonic()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            fill(connection, jobs)
        print(f"{jobs:,} jobs and what belongs to them in {time.monotonic() - began:.0f} s\n", flush=True)
        sessions = make_sessions(engine)
        lists(sessions)
        batches(sessions, folder)
        engine.dispose()
    finally:
        server.remove()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
