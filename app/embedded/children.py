"""Keeps a child process running: started in its own session, killed with its parent, restarted after growing pauses, stopped with its process
group.

Single-threaded on purpose. The kernel sends the parent-death signal when the *thread* that started the child ends. Code between fork and
exec is safe only while no other thread holds a lock. A supervisor calls `tick` from its only loop.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.embedded.accounts import Account
from app.embedded.errors import EmbeddedError
from app.embedded.logs import LogPipe
from app.retrying import comes_true

PR_SET_PDEATHSIG = 1
LOG_BYTES = 20_000_000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Backoff:
    """Seconds before restarts: `first`, doubling up to `most`; after a run of at least `healthy` seconds, `first` again."""

    first: float = 0.5
    most: float = 30
    healthy: float = 60

    def pause(self, restarts: int) -> float:
        """Returns the seconds to wait after `restarts` failures in a row."""
        return float(min(self.most, self.first * 2 ** min(restarts, 30)))


@dataclass(frozen=True)
class ChildSpec:
    """How to run a program.

    ready: quick check that never blocks for long; None: the program is ready once it runs.
    prepare: called before every start, to clean up after a crash.
    death_signal: the signal that the kernel sends when the supervisor dies for any reason.
    inherit: open file descriptors the child keeps, such as a listening socket.
    """

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    prepare: Callable[[], None] | None = None
    account: Account | None = None
    cwd: Path | None = None
    inherit: Sequence[int] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGTERM
    grace: float = 10
    backoff: Backoff = field(default_factory=Backoff)


class Child:
    """A child process that runs a ChildSpec."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.restarts = 0
        self.last_exit: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._due: float | None = None
        self._log = LogPipe(spec.log, LOG_BYTES)

    @property
    def pid(self) -> int | None:
        """Returns the id of the process, also after it ended by itself; None before the start and after `forget`."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Returns whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the program; raises OSError when it cannot be executed."""
        spec = self.spec
        if spec.prepare:
            spec.prepare()
        account = spec.account
        log = self._log.open()
        self._process = subprocess.Popen(
            list(spec.argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(spec.env),
            cwd=spec.cwd or "/",
            pass_fds=list(spec.inherit),
            start_new_session=True,
            preexec_fn=_dies_with(os.getpid(), spec.death_signal),  # noqa: PLW1509 - no threads here; after the change of user
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        self._started = time.monotonic()
        self._due = None

    def tick(self, now: float) -> str | None:
        """Restarts the child when it has died and its pause has passed; returns a sentence about what happened, or None."""
        self._log.keep_writing()
        if self._process is None or self.alive:
            return None
        if self._due is None:
            self.last_exit = self._process.returncode
            self._kill_group()
            self._failures = 0 if now - self._started >= self.spec.backoff.healthy else self._failures
            return self._postpone(now, exit_reason(self.last_exit))
        if now < self._due:
            return None
        try:
            self.start()
        except (OSError, EmbeddedError) as reason:
            return self._postpone(now, f"could not be started: {reason}")
        self.restarts += 1
        return f"{self.spec.name} started again (pid {self.pid})"

    def _postpone(self, now: float, reason: str) -> str:
        pause = self.spec.backoff.pause(self._failures)
        self._failures += 1
        self._due = now + pause
        return f"{self.spec.name} {reason}; starting it again in {pause:g} s (log: {self.spec.log})"

    def wait_ready(self, timeout: float, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Waits until the child is ready. Raises EmbeddedError, with the end of its log, when it exits or `timeout` s pass."""

        def ready() -> bool:
            if interrupted():
                return True
            if not self.alive:
                code = self._process.returncode if self._process else None
                raise EmbeddedError(f"{self.spec.name}_ended", f"{exit_reason(code)} before it was ready. {self.log_tail()}")
            return self.spec.ready is None or self.spec.ready()

        if not comes_true(ready, timeout, every=0.02):
            raise EmbeddedError(f"{self.spec.name}_not_ready", f"not ready after {timeout:g} s. {self.log_tail()}")

    def stop(self) -> None:
        """Sends the stop signal, waits for the grace period, then kills the rest of the process group."""
        stop_together([self])

    def ask_to_stop(self) -> None:
        """Sends the stop signal without waiting; `stop_together` waits for the child to exit."""
        if self._process is not None and self.alive:
            self._process.send_signal(self.spec.stop_signal)

    def kill(self) -> None:
        """Kills the whole process group with SIGKILL, like a crash or the out-of-memory killer; the next `tick` restarts the child."""
        self._kill_group()
        if self._process:
            # a process stuck in the kernel dies when it returns from there; do not wait for that
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)

    def forget(self) -> None:
        """Prevents `tick` from restarting the ended child, and closes its log."""
        self._process = None
        self._log.close()

    def log_tail(self, lines: int = 15) -> str:
        """Returns the end of the child's log, after a line with the log's path."""
        self._log.drain()
        try:
            text = self.spec.log.read_text(errors="replace")[-8000:]
        except OSError:
            text = ""
        return f"Its log {self.spec.log} ends:\n" + "\n".join(text.splitlines()[-lines:])

    def _kill_group(self) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def stop_together(children: Sequence[Child], impatient: Callable[[], bool] = lambda: False) -> None:
    """Stops several children at once, each within its own grace period; `impatient` ends all grace periods. Then kills the rest."""
    for child in children:
        child.ask_to_stop()
    asked = time.monotonic()
    for child in children:
        while child.alive and time.monotonic() < asked + child.spec.grace and not impatient():
            time.sleep(0.02)
        child.kill()
        child.forget()


def exit_reason(code: int | None) -> str:
    """Returns how a process ended: `exited with status 1`, `was killed by SIGKILL`."""
    if code is None:
        return "never started"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"


def _dies_with(parent: int, number: signal.Signals) -> Callable[[], None]:
    def between_fork_and_exec() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # the parent died before the signal was set
            os._exit(1)

    return between_fork_and_exec
