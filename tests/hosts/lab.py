"""The service on six hosts: database and broker, API, object storage, two workers, and a user's laptop.

Every process is the real one, started by the command an operator would use. The hosts share code and models, and no other folder.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from psycopg.rows import dict_row

import binnacle
from app.embedded.broker import Broker
from app.embedded.broker import connect as broker_client
from app.embedded.home import Home
from app.embedded.postgres import DATABASE, Postgres
from app.embedded.sharing import Sharing
from shipped import MODELS
from tests.hosts.network import Host, Network

CODE = Path(__file__).resolve().parents[2]
# BINNACLE_LEASE_* in seconds: short, so that another host takes over soon
LEASE = {"TTL": "12", "MARGIN": "4", "SWEEP": "1", "WATCH": "1", "SLICE": "2"}
MODEL = "demo-severe"
API_PORT, S3_PORT = 8000, 9000


class Process:
    """A program on a host, with its log."""

    def __init__(self, host: Host, argv: Sequence[str], environment: dict[str, str], log: Path, hidden: Sequence[Path]) -> None:
        self.log = log
        with host.inside(), log.open("ab") as output:
            self._process = subprocess.Popen(
                host.command(argv, hidden=hidden), env=environment, stdout=output, stderr=output, cwd=CODE
            )

    def wait(self, seconds: float = 120) -> int:
        """Its exit status, when it has ended."""
        return self._process.wait(seconds)

    def ask_to_stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        self.ask_to_stop()
        return self.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")


class Lab:
    """All hosts with their processes. A host sees only its own `folder/<host>`, besides code and models."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network, self.folder = network, folder
        self.servers, self.api, self.objects = network.host("servers"), network.host("api"), network.host("objects")
        self.laptop = network.host("laptop")
        self.workers = {name: network.host(name) for name in ("ada", "bob")}
        for name in network.hosts:
            (folder / name).mkdir(mode=0o711)
        self._processes: dict[str, Process] = {}
        self._client: binnacle.Client | None = None

    def start(self) -> None:
        self._start_servers()
        self._run(self.objects, "s3", [sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", str(S3_PORT)])
        self._start_api()
        for name in self.workers:
            self.start_worker(name)
        with self.laptop.inside():
            self.client.add_model(MODEL, str(MODELS / MODEL))
            self.client.await_model(MODEL, timeout=120)
        self.until(lambda: len(self.alive("model")) == 2, 120, "both model workers to report")

    def start_worker(self, name: str) -> None:
        """Starts `binnacle worker` with the URLs from the file that the servers' host wrote."""
        environment = {**self._urls, **{f"BINNACLE_LEASE_{key}": value for key, value in LEASE.items()}}
        command = [sys.executable, "-m", "app.cli", "worker", "--home", str(self.folder / name / "home"), "--device", "cpu"]
        self._run(self.workers[name], "worker", command, environment)

    def stop_worker(self, name: str) -> int:
        return self._processes.pop(f"{name}/worker").stop()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        for process in self._processes.values():
            process.ask_to_stop()
        for process in self._processes.values():
            process.stop()
        self._broker.remove()
        self._postgres.remove()

    @property
    def client(self) -> binnacle.Client:
        """A client of the API with the administrator's key. Use it within `laptop.inside()`."""
        if self._client is None:
            key = (self.folder / "api" / "home" / "admin.key").read_text().strip()
            self._client = binnacle.Client(f"http://{self.api.address}:{API_PORT}", key)
        return self._client

    def calibrate(self, prompts: int, **more: Any) -> str:
        """Submits a calibration that takes longer with more `prompts`, and returns its id. Equal numbers give equal results."""
        texts = [f"please tell me {n} things about boats and harbours ." for n in range(2, 2 + prompts)]
        with self.laptop.inside():
            return str(self.client.calibrate(MODEL, prompts=texts, max_new_tokens=64, **more)["id"])

    def ended(self, job: str, seconds: float = 240) -> dict[str, Any]:
        """The job, once it has ended."""
        with self.laptop.inside():
            return dict(self.client.wait(job, timeout=seconds))

    def file(self, job: dict[str, Any], folder: Path) -> bytes:
        """The job's calibration as the laptop downloads it through the API."""
        with self.laptop.inside():
            return bytes(self.client.download(job["artifacts"][0], folder / job["id"]).read_bytes())

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """The rows of a query, read over the database's socket, so that no host's network matters."""
        with self._postgres.connect(DATABASE) as connection:
            return connection.cursor(row_factory=dict_row).execute(statement, values).fetchall()  # type: ignore[arg-type]

    def started_by(self, job: str) -> list[str]:
        """The hosts that began the job, in order."""
        rows = self.rows(
            "SELECT data ->> 'worker' AS worker FROM job_events WHERE job_id = %s AND type = 'started' ORDER BY seq", job
        )
        return [row["worker"].split("@")[1] for row in rows]

    def written(self, job: str) -> dict[str, list[dict[str, Any]]]:
        """All rows of the job, its events, cells and artifacts."""
        tables = {"jobs": "id", "job_events": "job_id", "job_cells": "job_id", "artifacts": "job_id"}
        return {table: self.rows(f"SELECT * FROM {table} WHERE {key} = %s ORDER BY 1, 2", job) for table, key in tables.items()}

    def alive(self, job_class: str, seconds: float = 6) -> set[str]:
        """The hosts with a worker of the class that reported in the last `seconds`."""
        fresh = "SELECT host FROM workers WHERE job_class = %s AND seen_at > now() - make_interval(secs => %s)"
        return {row["host"] for row in self.rows(fresh, job_class, seconds)}

    def log(self, host: str, node: str = "model-0") -> str:
        """The log of a node of this host."""
        return (self.folder / host / "home" / "logs" / f"{node}.log").read_text(errors="replace")

    def connections_from(self, host: Host) -> int:
        """How many connections with the host the database still counts."""
        [row] = self.rows("SELECT count(*) AS n FROM pg_stat_activity WHERE client_addr = %s::inet", host.address)
        return int(row["n"])

    def bells_heard_by(self, host: Host) -> int:
        """How many connections with the host the broker still counts; over them it rings the bell for new jobs."""
        with broker_client(self._broker.url) as client:
            return sum(str(peer["addr"]).startswith(f"{host.address}:") for peer in client.client_list())

    def reached_from(self, host: Host) -> list[str]:
        """Which of the three servers the host can open a connection to."""
        servers = {"database": (self.servers, 5432), "broker": (self.servers, 6379), "objects": (self.objects, S3_PORT)}
        with ThreadPoolExecutor(len(servers)) as threads:  # at once: a lease is running out
            reached = threads.map(lambda where: host.reaches(*where, seconds=2), servers.values())
            return [name for name, there in zip(servers, reached, strict=True) if there]

    def until(self, true: Callable[[], Any], seconds: float, what: str) -> None:
        """Waits until the condition holds; fails with the logs of all processes after `seconds`."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-2500:]}" for path in self._logs())
                raise AssertionError(f"waited {seconds} s for {what}\n{logs}")
            time.sleep(0.1)

    def _logs(self) -> list[Path]:
        return sorted([*self.folder.glob("*/*.log"), *self.folder.glob("*/home/logs/*.log")])

    def _start_servers(self) -> None:
        """Starts database and broker as `binnacle up --serve-workers` does, but without its API and workers."""
        address, own = self.servers.address, self.folder / "servers"
        sharing = Sharing(address)
        self._postgres = Postgres(own / "postgres", listen=sharing.database, durable=False)
        self._broker = Broker(own / "broker", listen=sharing.broker)
        with self.servers.inside():
            self._postgres.start()
            self._broker.start()
        storage = (
            f"s3://lab?endpoint=http://{self.objects.address}:{S3_PORT}&region=us-east-1&access_key_id=k&secret_access_key=s"
        )
        told = sharing.publish(Home(own / "home"), self._postgres.url, self._broker.url, storage).read_text()
        read = subprocess.run(["sh", "-c", f"{told}env"], env={}, capture_output=True, text=True, check=True).stdout
        self._urls = {name: value for name, value in (line.split("=", 1) for line in read.splitlines()) if name.endswith("_URL")}

    def _start_api(self) -> None:
        def bucket() -> bool:
            client = boto3.client(
                "s3", endpoint_url=f"http://{self.objects.address}:{S3_PORT}", region_name="us-east-1",
                aws_access_key_id="k", aws_secret_access_key="s",
            )  # fmt: skip
            client.create_bucket(Bucket="lab")
            return True

        self.until(lambda: self.laptop.reaches(self.objects, S3_PORT), 120, "the store to answer")
        with self.laptop.inside():
            bucket()
        environment = {**self._urls, "BINNACLE_HOME": str(self.folder / "api" / "home"), "BINNACLE_KEY_PEPPER": "p" * 32}
        prepare = self._run(self.api, "prepare", [sys.executable, "-m", "app.cli", "prepare"], environment)
        assert prepare.wait() == 0, prepare.said()
        command = [sys.executable, "-m", "app.server", "--host", self.api.address, "--port", str(API_PORT)]
        self._run(self.api, "api", command, environment)
        self.until(lambda: self.laptop.reaches(self.api, API_PORT), 120, "the API to answer")

    def _run(self, host: Host, name: str, argv: Sequence[str], environment: dict[str, str] | None = None) -> Process:
        hidden = [self.folder / other for other in self.network.hosts if other != host.name]
        own = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **(environment or {})}
        process = Process(host, argv, own, self.folder / host.name / f"{name}.log", hidden)
        self._processes[f"{host.name}/{name}"] = process
        return process
