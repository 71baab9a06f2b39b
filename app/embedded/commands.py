"""Builds the command line and environment of every process that `binnacle up` runs; compose runs the same commands."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import app
from app.embedded.children import ChildSpec
from app.settings import LeaseSettings

CODE = Path(app.__file__).resolve().parents[1]
"""The folder from which `app` and `workers` can be imported: the checkout, or site-packages."""

MARK = "BINNACLE_UP"
"""Environment variable in every process of one data folder, so that the next `up` finds processes left after a crash."""


METRICS_PORT = "BINNACLE_METRICS_PORT"
"""Environment variable with the port of an API process's metrics."""

SPARE = 10.0
"""Seconds that a node may need to stop, beside those in which it takes a job from an unresponsive child."""

API_GRACE = 15.0
"""Seconds; longer than the API waits for its clients (app.server.STOP_SECONDS)."""


@dataclass(frozen=True)
class WorkerPlan:
    """A Celery node. cuda: the UUID of its GPU; None for the CPU. threads: torch's, if cores are shared; None for the setting.

    host: distinguishes the node from nodes on other machines; Celery's `%h` is this machine's name.
    """

    name: str
    job_class: Literal["model", "light"]
    cuda: str | None = None
    threads: int | None = None
    host: str = "%h"

    @property
    def description(self) -> str:
        """Returns the name, for a model worker with its device: `model-0 (CPU)`."""
        return f"{self.name} ({self.cuda or 'CPU'})" if self.job_class == "model" else self.name


def plan_workers(
    cuda_devices: Sequence[str], cpu_workers: int | None = None, *, host: str = "%h", light: bool = True
) -> list[WorkerPlan]:
    """Returns one model worker per device, and one light worker. Without a GPU, `cpu_workers` (None: one) share the CPU's cores."""
    count = cpu_workers or 1
    threads = max(1, (os.cpu_count() or 1) // count) if count > 1 and not cuda_devices else None
    devices: Sequence[str | None] = cuda_devices or [None] * count
    models = [WorkerPlan(f"model-{i}", "model", cuda, threads, host) for i, cuda in enumerate(devices)]
    return [*models, WorkerPlan("light-0", "light", host=host)] if light else models


def api_command(listening: int, *, after: int, tally: tuple[int, int] | None = None) -> list[str]:
    """Returns the command of an API process on a listening socket, so that connections wait while it restarts.

    It serves once the latch `after` opens. tally: the file in which the processes that share the socket count their connections, and the
    place of this process in it.
    """
    command = [sys.executable, "-m", "app.server", "--fd", str(listening), "--after", str(after)]
    return command if tally is None else [*command, "--tally", *map(str, tally)]


def api_environments(service: Mapping[str, str], count: int, metrics_port: int) -> list[tuple[str, dict[str, str]]]:
    """Returns the name and the environment of each API process. Each serves its metrics on a port of its own, counted up from the first."""
    # settings may be written in any case
    shared = {name: value for name, value in service.items() if name.upper() != METRICS_PORT}
    ports = [metrics_port + i if metrics_port else 0 for i in range(count)]
    names = [f"api-{i}" for i in range(count)] if count > 1 else ["api"]
    return [(name, {**shared, METRICS_PORT: str(port)}) for name, port in zip(names, ports, strict=True)]


def worker_command(plan: WorkerPlan) -> list[str]:
    """Returns the command of a Celery node with one child process, which loads models."""
    return [
        *(sys.executable, "-m", "celery", "-A", "workers.celery_app", "worker"),
        *("-n", f"{plan.name}@{plan.host}", "-Q", plan.job_class, "-P", "prefork", "-c", "1"),
        *("--without-gossip", "--without-mingle", "--loglevel", "INFO"),
    ]


def service_environment(
    inherited: Mapping[str, str], *, home: Path, database: str, broker: str, storage: str, pepper: str | None = None
) -> dict[str, str]:
    """Returns the environment of the API and the workers: the inherited one with our settings and the three URLs. Only the API needs the
    pepper.
    """
    return {
        **inherited,
        "DATABASE_URL": database,
        "BROKER_URL": broker,
        "STORAGE_URL": storage,
        "BINNACLE_HOME": str(home),
        **({} if pepper is None else {"BINNACLE_KEY_PEPPER": pepper}),
        MARK: str(home),
    }


def worker_environment(plan: WorkerPlan, service: Mapping[str, str]) -> dict[str, str]:
    """Returns the service's environment and the single device that this worker may see."""
    return {
        **service,
        "BINNACLE_WORKER_CLASS": plan.job_class,
        "BINNACLE_DEVICE": "cuda:0" if plan.cuda else "cpu",
        "CUDA_VISIBLE_DEVICES": plan.cuda or "",
        **({} if plan.threads is None else {"BINNACLE_THREADS": str(plan.threads)}),
    }


def worker_grace() -> float:
    """Returns the seconds in which a node stops by itself, from the settings in this process's environment."""
    lease = LeaseSettings()
    return lease.drain_grace + lease.kill_grace + SPARE


def worker_spec(plan: WorkerPlan, service: Mapping[str, str], logs: Path) -> ChildSpec:
    """Returns how a supervisor runs a worker node. `service` is the environment that all nodes share."""
    return ChildSpec(
        name=plan.name,
        argv=worker_command(plan),
        env=worker_environment(plan, service),
        log=logs / f"{plan.name}.log",
        cwd=CODE,
        death_signal=signal.SIGKILL,  # on any other signal, Celery would wait for a broker and a database that are also dying
        grace=worker_grace(),
    )
