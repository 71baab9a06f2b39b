"""One child process kept alive: started in its own session, dying with its parent, restarted with growing pauses, stopped as a group.

Single-threaded on purpose: the kernel sends the parent-death signal when the *thread* that started the child ends, and running code
between fork and exec is safe only while no other thread holds a lock. A supervisor calls `tick` from its one loop.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.embedded.accounts import Account
from app.embedded.errors import EmbeddedError

PR_SET_PDEATHSIG = 1
LOG_BYTES = 20_000_000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Backoff:
    """Pauses before restarts: `first` seconds, doubling up to `most`; a child that lived `healthy` seconds starts over."""

    first: float = 0.5
    most: float = 30
    healthy: float = 60

    def pause(self, restarts: int) -> float:
        return float(min(self.most, self.first * 2 ** min(restarts, 30)))


@dataclass(frozen=True)
class ChildSpec:
    """How to run one program.

    ready: cheap check that never blocks for long; None means that running is being ready.
    prepare: called before every start, for what a crash may have left in the way.
    death_signal: what the kernel sends when the supervisor dies, however it dies.
    """

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    prepare: Callable[[], None] | None = None
    account: Account | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGTERM
    grace: float = 10
    backoff: Backoff = field(default_factory=Backoff)


class Child:
    """The running side of a ChildSpec."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.restarts = 0
        self.last_exit: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._due: float | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the program; raises OSError when it cannot be executed."""
        spec = self.spec
        if spec.prepare:
            spec.prepare()
        if spec.log.exists() and spec.log.stat().st_size > LOG_BYTES:
            spec.log.replace(spec.log.with_suffix(spec.log.suffix + ".1"))
        account = spec.account
        with os.fdopen(os.open(spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            self._process = subprocess.Popen(
                list(spec.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(spec.env),
                cwd=spec.cwd or "/",
                start_new_session=True,
                preexec_fn=_dies_with(os.getpid(), spec.death_signal),  # runs after the change of user, which would clear it
                **({"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}),
            )
        self._started = time.monotonic()
        self._due = None

    def tick(self, now: float) -> str | None:
        """Restarts the child when it has died and its pause is over; what happened, as a sentence for the person watching, or None."""
        if self._process is None or self.alive:
            return None
        if self._due is None:
            self.last_exit = self._process.returncode
            self._kill_group()
            self._failures = 0 if now - self._started >= self.spec.backoff.healthy else self._failures
            pause = self.spec.backoff.pause(self._failures)
            self._failures += 1
            self._due = now + pause
            return f"{self.spec.name} {exit_reason(self.last_exit)}; starting it again in {pause:g} s (log: {self.spec.log})"
        if now < self._due:
            return None
        self.start()
        self.restarts += 1
        return f"{self.spec.name} started again (pid {self.pid})"

    def wait_ready(self, timeout: float, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Waits until the child is ready. Raises EmbeddedError, with the end of its log, when it ends first or takes over `timeout` s."""
        deadline = time.monotonic() + timeout
        while not interrupted():
            if not self.alive:
                code = self._process.returncode if self._process else None
                raise EmbeddedError(f"{self.spec.name}_ended", f"{exit_reason(code)} before it was ready. {self.log_tail()}")
            if self.spec.ready is None or self.spec.ready():
                return
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.spec.name}_not_ready", f"not ready after {timeout:g} s. {self.log_tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Asks the child to stop, waits its grace, then kills whatever is left of its process group."""
        if self._process is None:
            return
        if self.alive:
            self._process.send_signal(self.spec.stop_signal)
            try:
                self._process.wait(self.spec.grace)
            except subprocess.TimeoutExpired:
                self._kill_group()
        self._kill_group()
        self._process.wait()
        self._process = None

    def kill(self) -> None:
        """SIGKILL to the whole group, as a crash or the out-of-memory killer would; the next `tick` restarts it."""
        self._kill_group()
        if self._process:
            self._process.wait()

    def log_tail(self, lines: int = 15) -> str:
        """The end of the child's log, introduced by where it lies."""
        try:
            text = self.spec.log.read_text(errors="replace")[-8000:]
        except OSError:
            text = ""
        return f"Its log {self.spec.log} ends:\n" + "\n".join(text.splitlines()[-lines:])

    def _kill_group(self) -> None:
        if self._process:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


def exit_reason(code: int | None) -> str:
    """`exited with status 1`, `was killed by SIGKILL`."""
    if code is None:
        return "never started"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"


def _dies_with(parent: int, number: signal.Signals) -> Callable[[], None]:
    def between_fork_and_exec() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # the parent died before the line above could take effect
            os._exit(1)

    return between_fork_and_exec
