"""Runs `binnacle worker`: worker nodes of a host that shares only database, broker, objects and model store with the service."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.embedded import commands
from app.embedded.devices import cuda_devices
from app.embedded.errors import EmbeddedError
from app.embedded.foreground import Foreground
from app.embedded.home import Home

URLS = ("DATABASE_URL", "BROKER_URL", "STORAGE_URL")


@dataclass(frozen=True)
class WorkerOptions:
    """Options of `binnacle worker`; `device` and `cpu_workers` as in `supervisor.Options`.

    host: distinguishes this host's nodes in the service; None for the machine's name. light: also run a node for jobs without a model.
    """

    home: Path
    host: str | None = None
    device: str = "auto"
    cpu_workers: int | None = None
    light: bool = True


class WorkerHost:
    """One run of this host's nodes. `environment` must contain the three URLs. on_start: called once the nodes run."""

    def __init__(
        self,
        options: WorkerOptions,
        *,
        environment: Mapping[str, str] = os.environ,
        say: Callable[[str], None],
        on_start: Callable[["WorkerHost"], None],
    ) -> None:
        """Raises EmbeddedError when a URL is missing."""
        if missing := [name for name in URLS if not environment.get(name)]:
            raise EmbeddedError(
                "service_unknown",
                f"{', '.join(missing)} must say where the service is. On its host, `binnacle up --serve-workers ADDRESS` writes them to "
                "worker.env in its data folder: copy that file here and read it with `. ./worker.env`.",
            )
        self.home = Home(options.home)
        self.urls = [environment[name] for name in URLS]
        devices = cuda_devices(environment) if options.device == "auto" else []
        self.workers = commands.plan_workers(devices, options.cpu_workers, host=options.host or "%h", light=options.light)
        self._environment = environment
        self._foreground = Foreground(self.home, say)
        self._on_start = on_start

    def run(self) -> None:
        """Runs until SIGINT, SIGTERM or SIGHUP. The nodes themselves wait for servers that do not answer: hosts may start in any
        order."""
        with self.home.lock():
            self._foreground.run(self._start)

    def _start(self) -> None:
        database, broker, storage = self.urls
        service = commands.service_environment(
            self._environment, home=self.home.folder, database=database, broker=broker, storage=storage
        )
        tier = self._foreground.tier()
        for plan in self.workers:
            self._foreground.launch(commands.worker_spec(plan, service, self.home.logs), tier)
        self._on_start(self)
