"""What a quota of bytes costs a submission by an owner of many objects: `python -m tests.benchmarks.bench_quota [OBJECTS]`."""

import statistics
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from app.db import make_engine, make_sessions
from app.embedded.postgres import Postgres
from app.jobs import service
from app.migrate import upgrade
from tests.services import make_quick_folder

FILL = """
INSERT INTO blobs (digest, size) SELECT lpad(to_hex(n), 64, '0'), 1000 FROM generate_series(1, {n}) AS n;
INSERT INTO jobs (id, kind, job_class, owner, spec, spec_hash, state)
    SELECT 'job_' || n, 'calibrate', 'model', 'ada', '{{}}', 'x', 'succeeded' FROM generate_series(1, 5000) AS n;
INSERT INTO job_cells (job_id, cell, digest) SELECT 'job_' || (n % 5000 + 1), n, lpad(to_hex(n), 64, '0') FROM generate_series(1, {n}) AS n;
INSERT INTO quotas (owner, stored_bytes, changed_by) VALUES ('ada', 1000000000000, 'bench');
"""


def main(objects: int) -> None:
    """Submits 40 jobs one after the other, then 40 at once."""
    server = Postgres(make_quick_folder() / "pg", durable=False)
    server.start()
    try:
        upgrade(server.url)
        began = time.monotonic()
        with server.connect("binnacle") as connection:
            connection.execute(FILL.format(n=objects))
            _say(f"{objects:,} objects referred to in {time.monotonic() - began:.1f} s")
            connection.execute("VACUUM ANALYZE")
        engine = make_engine(server.url, pool_size=40)
        sessions = make_sessions(engine)

        def submit(_n: int) -> tuple[float, str]:
            asked = time.monotonic()
            try:
                with sessions.begin() as session:
                    service.submit(session, service.Submission(kind="calibrate", spec={}, owner="ada", job_class="model"))
                outcome = "submitted"
            except Exception as error:
                outcome = getattr(error, "code", None) or type(error).__name__
            return time.monotonic() - asked, outcome

        _show("one after the other", [submit(n) for n in range(40)])
        with ThreadPoolExecutor(40) as pool:
            _show("40 at once", list(pool.map(submit, range(40))))
        engine.dispose()
    finally:
        server.remove()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _show(what: str, found: list[tuple[float, str]]) -> None:
    times = sorted(seconds for seconds, _ in found)
    _say(
        f"{what}: median {statistics.median(times) * 1000:.1f} ms, longest {times[-1] * 1000:.0f} ms, {dict(Counter(o for _, o in found))}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
