"""What the service itself costs: submitting, starting, claiming. Real Postgres, broker, API and worker node on this machine.

    python -m tests.benchmarks.bench_jobs

submit:     p50 and p95 of POST /v1/calibrations by 100 concurrent clients, and the bare database transaction as the baseline
start:      from the creation of a job's row to `running` on an idle worker that has imported torch; the same from the end of its
            predecessor (goal < 300 ms)
claim:      p95 of one claim among 100,000 job rows, of which 3,000 are queued by 20 owners, against the same among 1,000 rows; and its CPU,
            of this process and of its Postgres backend (goal: p95 < 10 ms)
bell:       CPU of this process for one bell over the connection that is kept, and over a new one each time
"""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx2
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

import tests.worker.probe  # noqa: F401 - registers the job kind `probe`
from app.auth.keys import ensure_first_key
from app.bell import Bell
from app.db import make_engine, make_sessions
from app.embedded.broker import Broker, connect
from app.embedded.postgres import Postgres
from app.jobs import claims, service
from app.jobs.claims import Claimer
from app.jobs.schemas import Edge
from app.migrate import upgrade
from app.models.models import Model
from app.settings import LeaseSettings, Settings
from tests.benchmarks.bench_requests import cpu_ms
from tests.services import make_folder
from tests.worker.conftest import Service
from workers import warm

ROWS = 100_000
console = Console(width=110)


def percentiles(seconds: list[float]) -> tuple[str, str]:
    """p50 and p95 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20)
    return f"{1000 * cuts[9]:.1f}", f"{1000 * cuts[18]:.1f}"


def timed(work: Callable[[], object], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return taken


def fill(url: str, rows: int) -> None:
    """`rows` jobs: 3,000 queued (or all), by 20 owners for 6 models, the rest long finished."""
    engine = make_engine(url)
    queued = min(rows, 3000)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(
            text("""
            INSERT INTO jobs (id, kind, job_class, owner, spec, spec_hash, model, state, event_seq, finished_at)
            SELECT 'job_' || lpad(i::text, 26, '0'), 'probe', 'model', 'owner' || i % 20, '{}', md5(i::text), 'm' || i % 6,
                   CASE WHEN i <= :done THEN 'succeeded' ELSE 'queued' END, 1, CASE WHEN i <= :done THEN now() END
            FROM generate_series(1, :rows) AS i"""),
            {"rows": rows, "done": rows - queued},
        )
        connection.execute(
            text("INSERT INTO owner_turns (owner, lane) SELECT 'owner' || i, 'model' FROM generate_series(0, 19) AS i")
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE jobs"))
    engine.dispose()


def claims_cpu(url: str, count: int) -> list[float]:
    """CPU seconds of each claim by one claimer: of this process and of its Postgres backend."""
    engine = make_engine(url, pool_size=1)
    sessions = make_sessions(engine)
    claimer = Claimer("w0", "model", 1, {"probe": 1}, ["m0"])
    taken = []
    with sessions.begin() as session:
        pids = [os.getpid(), session.execute(text("SELECT pg_backend_pid()")).scalar_one()]
    for _ in range(count):
        before = sum(map(cpu_ms, pids))
        with sessions.begin() as session:
            assert claims.claim(session, claimer, ttl=60, slice_seconds=300)
        taken.append((sum(map(cpu_ms, pids)) - before) / 1000)
    engine.dispose()
    return taken


def bench_bells(broker: Broker, table: Table) -> None:
    bell = Bell(Settings.model_validate({"broker_url": broker.url, "broker_prefix": "bells:"}))

    def kept(pending: int) -> None:
        assert bell.ring("model", pending)

    def anew(pending: int) -> None:
        bell._hang_up()
        assert bell.ring("model", pending)

    for name, ring in (("connection kept", kept), ("a new connection each time", anew)):
        before = cpu_ms(os.getpid())
        for pending in range(1, 201):
            ring(pending)
        table.add_row(f"bell, {name}, CPU", f"{(cpu_ms(os.getpid()) - before) / 200:.2f}", "", "mean of 200")
        with connect(broker.url) as client:
            client.flushall()
    bell.close()


def claim_times(url: str, claimers: int, each: int) -> list[float]:
    """Seconds of every claim, of so many claimers at once with `each` claims each."""
    engine = make_engine(url, pool_size=claimers)
    sessions = make_sessions(engine)

    def one(worker: int) -> list[float]:
        claimer = Claimer(f"w{worker}", "model", 1, {"probe": 1}, [f"m{worker % 6}"])

        def claim() -> None:
            with sessions.begin() as session:
                lease = claims.claim(session, claimer, ttl=60, slice_seconds=300)
            assert lease is not None

        return timed(claim, each)

    with ThreadPoolExecutor(claimers) as pool:
        taken = [seconds for times in pool.map(one, range(claimers)) for seconds in times]
    engine.dispose()
    return taken


def bench_claims(postgres: Postgres, table: Table) -> None:
    urls = {}
    for rows in (1_000, ROWS):
        with postgres.connect() as connection:
            connection.execute(f"CREATE DATABASE claims_{rows}")
        urls[rows] = postgres.url_of(f"claims_{rows}")
        upgrade(urls[rows])
        fill(urls[rows], rows)
    # first, while few jobs run: an owner's running jobs are counted at each claim, and these claims are never ended
    cpu = percentiles(claims_cpu(urls[ROWS], 100))
    for claimers in (1, 4):
        small = claim_times(urls[1_000], claimers, 400 // claimers)
        large = claim_times(urls[ROWS], claimers, 400 // claimers)
        ratio = f"{statistics.median(large) / statistics.median(small):.2f} x the same among 1,000 rows"
        table.add_row(f"claim among {ROWS:,} rows, {claimers} claimer(s)", *percentiles(large), ratio)
    table.add_row(f"claim among {ROWS:,} rows, CPU", *cpu, "goal p95 < 10 ms")


def wait_for_imports(child: int) -> None:
    """Waits until a worker's child has imported torch, some seconds after its start, and uses no processor any more."""
    time.sleep(warm.SECONDS)
    used, before = cpu_ms(child), 0.0
    while used - before > 100:
        time.sleep(2)
        used, before = cpu_ms(child), used


def bench_starts(postgres: Postgres, broker: Broker, folder: Path, table: Table) -> None:
    settings = Settings(
        database_url=postgres.url,
        broker_url=broker.url,
        storage_url=f"file://{folder}/objects",
        broker_prefix="bench:",
        lease=LeaseSettings(),
    )
    live = Service(settings, folder)
    node = live.node("model-0")
    live.ended(live.submit(job_class="model"), 60)
    wait_for_imports(node.child())
    idle, dependent = [], []
    for _ in range(30):
        time.sleep(0.1)
        first = live.submit(job_class="model", seconds=0.1)
        second = live.submit(job_class="model", after=[Edge(job=first)])
        one, two = live.ended(first), live.ended(second)
        assert one.started_at is not None
        assert one.finished_at is not None
        assert two.started_at is not None
        idle.append((one.started_at - one.created_at).total_seconds())
        dependent.append((two.started_at - one.finished_at).total_seconds())
    table.add_row("idle submit -> running", *percentiles(idle), "goal < 300 ms")
    table.add_row("predecessor's end -> running", *percentiles(dependent), "goal < 300 ms")
    for node in live.nodes:
        node.stop()
    live.close()


def bench_submits(postgres: Postgres, broker: Broker, folder: Path, table: Table) -> None:
    environment = {
        **os.environ, "DATABASE_URL": postgres.url, "BROKER_URL": broker.url, "STORAGE_URL": f"file://{folder}/objects",
        "BINNACLE_BROKER_PREFIX": "bench-api:", "BINNACLE_KEY_PEPPER": "pepper",
    }  # fmt: skip
    os.environ.update(environment)
    engine = make_engine(postgres.url)
    sessions = make_sessions(engine)
    key = ensure_first_key(sessions, folder / "admin.key")
    assert key is not None
    with sessions.begin() as session:
        session.add(Model(name="m", source="/m", state="ready", created_by="admin"))
    command = [sys.executable, "-m", "app.server", "--port", "8377"]
    with (folder / "api.log").open("wb") as log:
        api = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _submit("http://127.0.0.1:8377", key, make_sessions(engine), table)
    finally:
        api.terminate()
        api.wait(20)
        engine.dispose()


def _submit(base: str, key: str, sessions: sessionmaker[Session], table: Table) -> None:
    for _ in range(100):
        try:
            if httpx2.get(f"{base}/livez").status_code == 200:
                break
        except httpx2.TransportError:
            time.sleep(0.2)
    body = {"model": "m"}
    start = threading.Barrier(100)

    def client() -> httpx2.Client:
        return httpx2.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def one(_: int) -> list[float]:
        with client() as mine:
            start.wait()

            def submit() -> None:
                answer = mine.post("/v1/calibrations", json=body)
                assert answer.status_code == 202, answer.text

            return timed(submit, 10)

    began = time.perf_counter()
    with ThreadPoolExecutor(100) as pool:
        taken = [seconds for times in pool.map(one, range(100)) for seconds in times]
    rate = len(taken) / (time.perf_counter() - began)
    table.add_row("submit over HTTP, 100 concurrent clients", *percentiles(taken), f"{rate:.0f} jobs/s; clients share the cores")
    with client() as mine:
        alone = timed(lambda: mine.post("/v1/calibrations", json=body).raise_for_status(), 100)
    request = service.Submission(kind="probe", spec={}, owner="ann", job_class="model")

    def bare() -> None:
        with sessions.begin() as session:
            service.submit(session, request)

    database = timed(bare, 100)
    ratio = f"{statistics.median(alone) / statistics.median(database):.2f} x the bare transaction"
    table.add_row("submit over HTTP, one client", *percentiles(alone), ratio)
    table.add_row("the bare transaction", *percentiles(database), "baseline")


def main() -> None:
    folder = make_folder()
    postgres, broker = Postgres(folder / "pg"), Broker(folder / "broker")
    postgres.start()
    broker.start()
    upgrade(postgres.url)
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    table = Table(
        "what",
        "p50 ms",
        "p95 ms",
        "",
        title=f"{os.cpu_count()} x {cpu or platform.machine()}, {datetime.now(UTC):%Y-%m-%d}, fsync on",
    )
    try:
        bench_claims(postgres, table)
        bench_bells(broker, table)
        bench_starts(postgres, broker, folder, table)
        bench_submits(postgres, broker, folder, table)
    finally:
        console.print(table)
        broker.stop()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
