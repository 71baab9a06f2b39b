"""A real `binnacle up` in a process of its own, for tests that use or harm the whole service."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.embedded.commands import MARK
from app.embedded.processes import carrying, working_in

READY = "Binnacle is ready"
CODE = Path(__file__).resolve().parents[2]


def until(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Waits for `condition`; fails naming `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


class Up:
    """`binnacle up` on `home`. After `start()` it has answered /readyz and said so; `output()` is what a person saw."""

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None, *arguments: str) -> None:
        self.home = home
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        self._arguments = arguments or ("--port", "0", "--device", "cpu")
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Starts the process without waiting for anything."""
        self.home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", *self.program(), "--home", str(self.home), *self._arguments]
        with (self.home / "seen").open("ab") as seen:
            self.process = subprocess.Popen(command, stdout=seen, stderr=seen, env=self._environment, cwd=CODE)

    def program(self) -> list[str]:
        """The module to run and its first arguments."""
        return ["app.cli", "up"]

    def start(self, seconds: float = 240) -> None:
        """Starts it and waits until it says that it is ready."""
        before = self.output().count(READY)
        self.launch()
        process = self.process
        assert process
        until(lambda: self.output().count(READY) > before or process.poll() is not None, READY, seconds)
        assert process.poll() is None, self.output()

    @property
    def url(self) -> str:
        return str(json.loads((self.home / "run.json").read_text())["url"])

    @property
    def key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    def get(self, path: str, key: str | None = None) -> tuple[int, Any]:
        """Status and body of a GET with the administrator's key, or another one; 0 when there is no answer."""
        return self._ask(urllib.request.Request(self.url + path), key)

    def post(self, path: str, body: object = None) -> tuple[int, Any]:
        """Status and body of a POST with the administrator's key; 0 when there is no answer."""
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(self.url + path, json.dumps(body or {}).encode(), headers), None)

    def _ask(self, request: urllib.request.Request, key: str | None) -> tuple[int, Any]:
        request.add_header("Authorization", f"Bearer {key or self.key}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read()
        except (OSError, ValueError):
            return 0, None

    def processes(self, word: str) -> list[int]:
        """The API's and workers' processes with `word` in their command line."""
        found = []
        for pid in carrying(f"{MARK}={self.home}"):
            try:
                if word in Path(f"/proc/{pid}/cmdline").read_text():
                    found.append(pid)
            except OSError:
                continue
        return found

    @property
    def postmaster(self) -> int:
        return int((self.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])

    def everything(self) -> list[int]:
        """Every process of this folder except `binnacle up` itself."""
        servers = [pid for name in ("postgres", "broker") for pid in working_in(self.home / name / "data")]
        return [*servers, *carrying(f"{MARK}={self.home}")]

    def output(self) -> str:
        seen = self.home / "seen"
        return seen.read_text() if seen.exists() else ""

    def stop(self, number: signal.Signals = signal.SIGINT, seconds: float = 120) -> int:
        """Sends the signal and waits; returns the exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(seconds)
