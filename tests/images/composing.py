"""Runs the services of docker-compose.yml as processes, with its variables, order, commands and environments.

Host names, paths, ports and the GPU are rewritten, as there are no containers. Postgres is the embedded one, with the password from the file;
valkey is the embedded program with the command from the file. Health checks and restarts are not tested.
"""

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from app.embedded.broker import answers, find_program
from app.embedded.postgres import Postgres
from app.embedded.private import write_private
from tests.embedded.running import until
from tests.images.building import Image

VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}")


def read_environment(path: Path) -> dict[str, str]:
    """The variables of an `.env` file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def read_compose(folder: Path) -> dict[str, Any]:
    """docker-compose.yml with the variables of `.env` filled in. Raises ValueError for a required variable that is not set."""
    variables = read_environment(folder / ".env")

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        given = variables.get(found[1], "")
        if not given and found[2] == "?":
            raise ValueError(f"{found[1]}: {found[3]}")
        return given or (found[3] or "")

    return dict(yaml.safe_load(VARIABLE.sub(value, (folder / "docker-compose.yml").read_text())))


class Composed:
    """The services of the file in `folder`. `ports` maps api, metrics, postgres and valkey to free ports."""

    def __init__(self, folder: Path, images: Mapping[str, Image], work: Path, ports: Mapping[str, int]) -> None:
        self._folder = folder
        self._images = images
        self._work = work
        self._ports = ports
        self._services: dict[str, Any] = {}
        self._rewritten: list[tuple[str, str]] = []
        self._postgres: Postgres | None = None
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def up(self) -> None:
        """Does what `docker compose up --detach` does: starts each service without a profile, after the services it depends on."""
        self._services = {name: one for name, one in read_compose(self._folder)["services"].items() if "profiles" not in one}
        self._rewritten = [
            (r"@postgres:5432", f"@127.0.0.1:{self._ports['postgres']}"),
            (r"@valkey:6379", f"@127.0.0.1:{self._ports['valkey']}"),
            (r"(?<![\w/])(/|file:///)var/lib/binnacle", rf"\g<1>{str(self._work / 'data').lstrip('/')}"),
            (r"^/models(?=/|$)", read_environment(self._folder / ".env")["MODELS_FOLDER"]),
            (r"^8000$|(?<=127\.0\.0\.1:)8000$", str(self._ports["api"])),
            (r"^9100$", str(self._ports["metrics"])),
            (r"^0\.0\.0\.0$", "127.0.0.1"),
            (r"^cuda:0$", "cpu"),
        ]
        (self._work / "data").mkdir(mode=0o700)
        left = list(self._services)
        while left:
            name = next(one for one in left if not set(self._services[one].get("depends_on", {})) & set(left))
            left.remove(name)
            self._start(name)

    @property
    def port(self) -> int:
        """The port of the API."""
        return self._ports["api"]

    def execute(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Does what `docker compose exec NAME COMMAND` does."""
        assert self.running[name].poll() is None, self.log(name)
        return self._image(name).run(*map(self._here, command), **self._environment(name))

    def log(self, name: str) -> str:
        return (self._work / f"{name}.log").read_text()

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            process.terminate()
        for process in self.running.values():
            process.wait(120)
        if self._postgres:
            self._postgres.remove()

    def _start(self, name: str) -> None:
        service = self._services[name]
        if name == "postgres":
            self._start_postgres(service["environment"])
            return
        if name == "valkey":
            environment = {"PATH": f"{self._valkey_program()}:{os.environ['PATH']}", **service["environment"]}
            self._launch(name, service["command"], environment, self._work)
            url = f"redis://:{service['environment']['VALKEY_PASSWORD']}@127.0.0.1:{self._ports['valkey']}/0"
            until(lambda: answers(url), "valkey")
            return
        command = [self._here(word).replace("%h", service.get("hostname", name)) for word in service["command"]]
        self._launch(name, command, self._environment(name), self._image(name).at("."))
        waits = [one.get("depends_on", {}).get(name, {}).get("condition") for one in self._services.values()]
        if "service_completed_successfully" in waits:
            assert self.running.pop(name).wait(120) == 0, self.log(name)

    def _launch(self, name: str, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        with (self._work / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def _start_postgres(self, environment: Mapping[str, str]) -> None:
        assert (environment["POSTGRES_USER"], environment["POSTGRES_DB"]) == ("binnacle", "binnacle"), (
            "the embedded database has these names"
        )
        folder = self._work / "pg"
        folder.mkdir()
        write_private(folder / "password", environment["POSTGRES_PASSWORD"])
        self._postgres = Postgres(folder, listen=("127.0.0.1", self._ports["postgres"]), durable=False)
        self._postgres.start()

    def _valkey_program(self) -> Path:
        """A folder with a script `valkey-server`, which adds the port to the command line."""
        folder = self._work / "programs"
        folder.mkdir()
        program = folder / "valkey-server"
        program.write_text(f'#!/bin/sh\nexec {find_program()} "$@" --port {self._ports["valkey"]} --bind 127.0.0.1\n')
        program.chmod(0o755)
        return folder

    def _image(self, name: str) -> Image:
        return self._images[self._services[name]["image"]]

    def _environment(self, name: str) -> dict[str, str]:
        service = self._services[name]
        named = read_environment(self._folder / service["env_file"]) | service["environment"]
        ours = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        return self._image(name).environment | {key: self._here(str(value)) for key, value in named.items()} | ours

    def _here(self, text: str) -> str:
        """The text with the hosts, paths and ports of this machine."""
        for pattern, replacement in self._rewritten:
            text = re.sub(pattern, replacement, text)
        return text


def command_lines(found: Callable[[int], bool]) -> dict[int, str]:
    """The command lines of the processes for which `found(pid)` is true, as `ps` shows them to every account."""
    lines = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if found(int(folder.name)):
                lines[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return lines
