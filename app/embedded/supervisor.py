"""`binnacle up`: starts Postgres, broker, API and workers in order, restarts what dies, stops everything in the opposite order.

One thread, one loop. It holds no job and no request; kill it and its children stop too, and the next start finds everything it needs.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from app.embedded import commands
from app.embedded.broker import Broker
from app.embedded.children import Child, ChildSpec, stop_together
from app.embedded.database import prepare_database
from app.embedded.devices import cuda_devices
from app.embedded.errors import EmbeddedError
from app.embedded.home import Home, Running
from app.embedded.listening import answers_ready, listen, local_address, url_of
from app.embedded.postgres import Postgres
from app.embedded.processes import carrying, end_all

TICK = 0.2
START_TIMEOUT = 120.0
WORKER_GRACE = 15.0


class _AskedToStop(Exception):
    """Ends the start at the next step."""


@dataclass(frozen=True)
class Options:
    """What `binnacle up` was asked for. device: "auto" (every GPU, else the CPU) or "cpu".

    cpu_workers: model workers that share the CPU where there is no GPU; several suit small models, as they keep one core each busy.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 8000
    device: str = "auto"
    cpu_workers: int = 1


class Supervisor:
    """One run of the service.

    environment: DATABASE_URL, BROKER_URL and STORAGE_URL in it are used instead of the embedded servers.
    say: shows one line to the person watching; on_ready: called once when the service answers.
    """

    def __init__(
        self,
        options: Options,
        *,
        environment: Mapping[str, str] = os.environ,
        say: Callable[[str], None],
        on_ready: Callable[["Supervisor", Running], None],
    ) -> None:
        self.options = options
        self.home = Home(options.home)
        self.workers: list[commands.WorkerPlan] = []
        self._environment = environment
        self._say = say
        self._on_ready = on_ready
        self._tiers: list[list[Child]] = []
        self._signals = 0

    def run(self) -> None:
        """Runs until SIGINT, SIGTERM or SIGHUP; a second signal stops without patience. Raises EmbeddedError when it cannot start."""
        with self.home.lock(), listen(self.options.host, self.options.port) as listening:
            before = self._catch_signals()
            try:
                self._clear_leftovers()
                running = self._start(listening)
                self.home.publish(running)
                self._on_ready(self, running)
                while not self._signals:
                    self._tick()
                    time.sleep(TICK)
                self._say("stopping")
            except _AskedToStop:
                self._say("stopped before it was ready")
            finally:
                self.home.withdraw()
                self._stop()
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _start(self, listening: socket.socket) -> Running:
        database, broker = self._start_servers()
        storage = self._environment.get("STORAGE_URL") or self.home.objects_url
        pepper = self._environment.get("BINNACLE_KEY_PEPPER") or self.home.pepper
        prepare_database(database, key_file=self.home.key_file, pepper=pepper)
        service = commands.service_environment(
            self._environment, home=self.home.folder, database=database, broker=broker, storage=storage, pepper=pepper
        )
        self._start_workers(service)
        url = self._start_api(listening, service)
        return Running(os.getpid(), url, database, broker, storage)

    def _start_servers(self) -> tuple[str, str]:
        """The URLs of database and broker; those not given by the environment are started here, Postgres below the broker."""
        database, broker = self._environment.get("DATABASE_URL"), self._environment.get("BROKER_URL")
        started = []
        if not database:
            postgres = Postgres(self.home.postgres, log=self.home.logs / "postgres.log")
            self._say("starting Postgres" if postgres.data.exists() else "making the database (once)")
            if postgres.folder != self.home.postgres:
                self._say(
                    f"the database lies in {postgres.folder}: the account it runs as cannot get through to {self.home.folder}"
                )
            postgres.prepare()
            started.append(self._launch(postgres.child_spec()))
            database = postgres.url
        if not broker:
            server = Broker(self.home.broker, log=self.home.logs / "broker.log")
            server.prepare()
            started.append(self._launch(server.child_spec()))
            broker = server.url
        for child in started:
            self._wait_ready(child)
        return database, broker

    def _start_workers(self, service: Mapping[str, str]) -> None:
        found = cuda_devices(self._environment) if self.options.device == "auto" else []
        self.workers = commands.plan_workers(found, self.options.cpu_workers)
        tier: list[Child] = []
        self._tiers.append(tier)
        for plan in self.workers:
            spec = ChildSpec(
                name=plan.name,
                argv=commands.worker_command(plan),
                env=commands.worker_environment(plan, service),
                log=self.home.logs / f"{plan.name}.log",
                cwd=commands.CODE,
                death_signal=signal.SIGKILL,  # any gentler one has Celery wait for a broker and a database that die just now
                grace=WORKER_GRACE,
            )
            self._launch(spec, tier)

    def _start_api(self, listening: socket.socket, service: Mapping[str, str]) -> str:
        host, port = local_address(listening)
        self._say("starting the API and the workers")
        api = self._launch(
            ChildSpec(
                name="api",
                argv=commands.api_command(listening.fileno()),
                env=service,
                log=self.home.logs / "api.log",
                cwd=commands.CODE,
                inherit=[listening.fileno()],
                ready=lambda: answers_ready(host, port),
            )
        )
        self._wait_ready(api)
        return url_of(host, port)

    def _launch(self, spec: ChildSpec, tier: list[Child] | None = None) -> Child:
        child = Child(spec)
        if tier is None:
            tier = []
            self._tiers.append(tier)
        tier.append(child)
        child.start()
        return child

    def _tick(self) -> None:
        for tier in self._tiers:
            for child in tier:
                if news := child.tick(time.monotonic()):
                    self._say(news)

    def _stop(self) -> None:
        """The last started first, each tier gone before the one it depends on. The servers always get their time to write."""
        for level, tier in reversed(list(enumerate(self._tiers))):
            ours = not any(child.spec.name in {"postgres", "broker"} for child in tier)
            stop_together(tier, impatient=(lambda: self._signals > 1) if ours else (lambda: False))
            del self._tiers[level]

    def _clear_leftovers(self) -> None:
        """Ends the API and workers of an earlier `up` of this folder that was killed; the servers see to their own."""
        mark = f"{commands.MARK}={self.home.folder}"
        if not (left := carrying(mark)):
            return
        self._say(f"ending {len(left)} processes that an earlier run left behind")
        if not end_all(lambda: carrying(mark), [(signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)]):
            raise EmbeddedError(
                "leftover_processes", f"processes {carrying(mark)} of an earlier run cannot be ended. End them by hand."
            )

    def _wait_ready(self, child: Child) -> None:
        child.wait_ready(START_TIMEOUT, lambda: self._signals > 0)
        if self._signals:
            raise _AskedToStop

    def _catch_signals(self) -> dict[signal.Signals, Any]:
        def note(_number: int, _frame: FrameType | None) -> None:
            self._signals += 1

        ours = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means to outlive its terminal
            ours.append(signal.SIGHUP)
        return {number: signal.signal(number, note) for number in ours}
