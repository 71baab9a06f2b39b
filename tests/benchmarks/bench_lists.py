"""How long the pages and lists that people look at most take in a database of 100,000 jobs: `python -m tests.benchmarks.bench_lists [JOBS]`.

Milliseconds at the client, median and worst of 30 after two to warm up; default settings of the planner, fsync off, one client.
"""

# ruff: noqa: T201 - it prints
import statistics
import sys
import time

from app.db import make_engine, make_sessions
from app.embedded.postgres import Postgres
from app.migrate import upgrade
from tests.db.crowd import fill
from tests.db.listed import NAMED
from tests.services import make_quick_folder


def main(jobs: int) -> None:
    """Fills a database and prints a line for each statement."""
    server = Postgres(make_quick_folder() / "pg", durable=False)
    server.start()
    try:
        upgrade(server.url)
        engine = make_engine(server.url, pool_size=2)
        began = time.monotonic()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            fill(connection, jobs)
        print(f"{jobs:,} jobs and as many vectors in {time.monotonic() - began:.0f} s\n\n{'':40} median   worst")
        for name, work in NAMED.items():
            taken = []
            for _ in range(32):
                with make_sessions(engine)() as session:
                    began = time.perf_counter()
                    work(session)
                    taken.append((time.perf_counter() - began) * 1000)
            print(f"{name:40} {statistics.median(taken[2:]):6.1f}  {max(taken[2:]):6.1f}")
        engine.dispose()
    finally:
        server.remove()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
