"""The command line and environment of every process that `binnacle up` runs; compose runs the same commands."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import app
from app.embedded.children import ChildSpec

CODE = Path(app.__file__).resolve().parents[1]
"""Where `app` and `workers` are importable from: the checkout, or site-packages."""

MARK = "BINNACLE_UP"
"""Carried by every process of one data folder, so that the next `up` finds what a crash left running."""


WORKER_GRACE = 25.0
"""Longer than a node needs to take a job from a child that does not look up (settings: lease.drain_grace, kill_grace)."""

API_GRACE = 15.0
"""Longer than the API's own patience with its clients (app.server.STOP_SECONDS)."""


@dataclass(frozen=True)
class WorkerPlan:
    """One Celery node. cuda: the UUID of its GPU; None for the CPU. threads: torch's, where the cores are shared; None for the setting.

    host: what tells it from the nodes of other machines; Celery's `%h` is this machine's name.
    """

    name: str
    job_class: Literal["model", "light"]
    cuda: str | None = None
    threads: int | None = None
    host: str = "%h"

    @property
    def description(self) -> str:
        return f"{self.name} ({self.cuda or 'CPU'})" if self.job_class == "model" else self.name


def plan_workers(cuda_devices: Sequence[str], cpu_workers: int = 1, *, host: str = "%h", light: bool = True) -> list[WorkerPlan]:
    """One model worker per device, and one light worker. Where there is no GPU, `cpu_workers` share the CPU's cores."""
    threads = max(1, (os.cpu_count() or 1) // cpu_workers) if cpu_workers > 1 and not cuda_devices else None
    devices: Sequence[str | None] = cuda_devices or [None] * cpu_workers
    models = [WorkerPlan(f"model-{i}", "model", cuda, threads, host) for i, cuda in enumerate(devices)]
    return [*models, WorkerPlan("light-0", "light", host=host)] if light else models


def api_command(listening: int, *, after: int | None = None) -> list[str]:
    """The API on a socket that is already listening, so that connections wait while it restarts; it serves once the latch `after` is open."""
    command = [sys.executable, "-m", "app.server", "--fd", str(listening)]
    return command if after is None else [*command, "--after", str(after)]


def worker_command(plan: WorkerPlan) -> list[str]:
    """One Celery node with one child, which is the process that loads models."""
    return [
        *(sys.executable, "-m", "celery", "-A", "workers.celery_app", "worker"),
        *("-n", f"{plan.name}@{plan.host}", "-Q", plan.job_class, "-P", "prefork", "-c", "1"),
        *("--without-gossip", "--without-mingle", "--loglevel", "INFO"),
    ]


def service_environment(
    inherited: Mapping[str, str], *, home: Path, database: str, broker: str, storage: str, pepper: str | None = None
) -> dict[str, str]:
    """The environment of the API and the workers: ours where it says something, and the three URLs. Only the API needs the pepper."""
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
    """The service's environment, and the one device this worker may see."""
    return {
        **service,
        "BINNACLE_WORKER_CLASS": plan.job_class,
        "BINNACLE_DEVICE": "cuda:0" if plan.cuda else "cpu",
        "CUDA_VISIBLE_DEVICES": plan.cuda or "",
        **({} if plan.threads is None else {"BINNACLE_THREADS": str(plan.threads)}),
    }


def worker_spec(plan: WorkerPlan, service: Mapping[str, str], logs: Path) -> ChildSpec:
    """How a supervisor runs one worker node. `service` is the environment that all nodes share."""
    return ChildSpec(
        name=plan.name,
        argv=worker_command(plan),
        env=worker_environment(plan, service),
        log=logs / f"{plan.name}.log",
        cwd=CODE,
        death_signal=signal.SIGKILL,  # any gentler one has Celery wait for a broker and a database that die just now
        grace=WORKER_GRACE,
    )
