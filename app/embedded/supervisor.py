"""Runs `binnacle up`: starts Postgres, broker, API and workers in order; `foreground` keeps them running and stops them."""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.dsn import given_database
from app.embedded import commands
from app.embedded.accepting import Tally, tally_file
from app.embedded.broker import Broker
from app.embedded.children import Child, ChildSpec
from app.embedded.devices import cuda_devices
from app.embedded.foreground import Foreground
from app.embedded.home import Home, Running
from app.embedded.latch import Latch
from app.embedded.listening import answers_ready, listen, local_address, url_of
from app.embedded.postgres import Postgres
from app.embedded.private import write_private
from app.embedded.sharing import Sharing


@dataclass(frozen=True)
class Options:
    """Options of `binnacle up`. device: "auto" (every GPU, else the CPU) or "cpu".

    api_processes: processes that answer requests; one keeps one core busy at most. metrics_port: of the first of them; 0 for none.
    cpu_workers: model workers that share the CPU when there is no GPU (None: one); several suit small models, which keep one core busy each.
    sharing: where workers on other hosts reach the embedded database and broker; None if they may not.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 8000
    device: str = "auto"
    cpu_workers: int | None = None
    sharing: Sharing | None = None
    api_processes: int = 1
    metrics_port: int = 0


class Supervisor:
    """One run of the service. secret: required in every request on a server without keys; empty if keys are on. has_key: whether the data folder
    holds a valid key of the administrator.

    environment: its DATABASE_URL, BROKER_URL and STORAGE_URL, if set, replace the embedded servers.
    say: shows a line to the user; on_ready: called once when the service answers.
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
        self.secret = ""
        self.has_key = False
        self._environment = environment
        self._say = say
        self._on_ready = on_ready
        self._foreground = Foreground(self.home, say)

    def run(self) -> None:
        """Runs until SIGINT, SIGTERM or SIGHUP; a second signal stops at once. Raises EmbeddedError when it cannot start."""
        options = self.options
        with self.home.lock(), listen(options.host, options.port) as listening:
            self._foreground.run(lambda: self._start(listening))

    def _start(self, listening: socket.socket) -> None:
        """Starts the service. The API's imports take longest, so it is launched first; it serves once the database is prepared, and the
        workers start when it answers.
        """
        database, broker, servers = self._launch_servers()
        storage = self._environment.get("STORAGE_URL") or self.home.objects_url
        pepper = self._environment.get("BINNACLE_KEY_PEPPER") or self.home.pepper
        service = commands.service_environment(
            self._environment, home=self.home.folder, database=database, broker=broker, storage=storage, pepper=pepper
        )
        workers = self._foreground.tier()  # created before the API's tier, so that the API stops first
        prepared = Latch()
        apis = self._launch_apis(listening, service | self._local_secret(), prepared)
        for child in servers:
            self._foreground.wait_ready(child)
        from app.embedded.database import prepare_database  # imported here so that it runs in parallel to the API's imports

        self.has_key = prepare_database(database, key_file=None if self.secret else self.home.key_file, pepper=pepper)
        prepared.open()
        if self.options.sharing:
            self.options.sharing.publish(self.home, database, broker, storage)
        for api in apis:
            self._foreground.wait_ready(api)
        self._start_workers(service, workers)
        running = Running(os.getpid(), url_of(*local_address(listening)), database, broker, storage)
        self.home.publish(running)
        self._on_ready(self, running)

    def _local_secret(self) -> dict[str, str]:
        """Makes and stores the secret when keys are off, and returns it for the API's environment."""
        if self._environment.get("BINNACLE_AUTH") != "off":
            return {}
        from app.auth.keyless import new_secret

        self.secret = self._environment.get("BINNACLE_LOCAL_SECRET") or new_secret()
        write_private(self.home.secret_file, self.secret)
        return {"BINNACLE_LOCAL_SECRET": self.secret}

    def _launch_servers(self) -> tuple[str, str, list[Child]]:
        """Launches the servers that the environment does not provide; returns the URLs of database and broker, and the launched children.

        Postgres gets the lower tier, so that it stops after the broker.
        """
        database, broker = given_database(self._environment), self._environment.get("BROKER_URL")
        sharing = self.options.sharing
        started = []
        if not database:
            postgres = Postgres(
                self.home.postgres, listen=sharing.database if sharing else None, log=self.home.logs / "postgres.log"
            )
            self._say("starting Postgres" if postgres.data.exists() else "making the database (once)")
            if postgres.folder != self.home.postgres:
                self._say(f"the database is in {postgres.folder}: the account it runs as cannot enter {self.home.folder}")
            postgres.prepare()
            started.append(self._foreground.launch(postgres.child_spec(), self._foreground.tier()))
            database = postgres.url
        if not broker:
            server = Broker(self.home.broker, listen=sharing.broker if sharing else None, log=self.home.logs / "broker.log")
            server.prepare()
            started.append(self._foreground.launch(server.child_spec(), self._foreground.tier()))
            broker = server.url
        return database, broker, started

    def _start_workers(self, service: Mapping[str, str], tier: list[Child]) -> None:
        devices = cuda_devices(self._environment) if self.options.device == "auto" else []
        self.workers = commands.plan_workers(devices, self.options.cpu_workers)
        for plan in self.workers:
            self._foreground.launch(commands.worker_spec(plan, service, self.home.logs), tier)

    def _launch_apis(self, listening: socket.socket, service: Mapping[str, str], prepared: Latch) -> list[Child]:
        """Launches the API processes. All accept on one socket, so one that starts or restarts leaves new connections to the others; they
        share these evenly."""
        options = self.options
        self._say("starting the API and the workers")
        tier = self._foreground.tier()
        environments = commands.api_environments(service, options.api_processes, options.metrics_port)
        self._tally = tally_file(len(environments))  # kept open: a process that restarts inherits it again
        tally = self._tally.fileno()
        specs = [
            ChildSpec(
                name=name,
                argv=commands.api_command(
                    listening.fileno(), after=prepared.fileno(), tally=(tally, place) if len(environments) > 1 else None
                ),
                env=environment,
                log=self.home.logs / f"{name}.log",
                cwd=commands.CODE,
                inherit=[listening.fileno(), prepared.fileno(), tally],
                ready=partial(_answers, local_address(listening), Tally(tally, place) if len(environments) > 1 else None),
                grace=commands.API_GRACE,
            )
            for place, (name, environment) in enumerate(environments)
        ]
        return [self._foreground.launch(spec, tier) for spec in specs]


def _answers(address: tuple[str, int], tally: Tally | None) -> bool:
    """Returns whether the API answers at the address, and the process with this tally, if any, takes part."""
    return (tally is None or tally.accepts) and answers_ready(*address)
