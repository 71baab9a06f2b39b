"""Runs parts one after another within a budget of time, each in a process of its own, and writes the card after each.

A part that raises, is killed by a signal or hangs is a failure with its traceback, its signal or its stack; the next one runs all the same.
"""

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from tests.gpu.card.part import Task, in_fork
from tests.gpu.card.parts import Part
from tests.gpu.card.record import Setup, read_entries

OUTPUT_KEPT = 6000  # characters of its beginning and of its end: a crash tells its stack first and the loaded libraries after it
TINY_PATIENCE = 3  # times a part's limit: tests share a CPU with others, and a tiny run's times mean nothing
LIBRARIES = (
    "numpy",
    "scipy.stats",
    "sklearn.linear_model",
    "torch",
    "transformers.models.llama.modeling_llama",
    "workers.lm.loading",
)


@dataclass
class Outcome:
    """A part and what became of it. `reason`: why it failed as a whole or was not run; `output`: what a failed one printed."""

    part: Part
    state: Literal["passed", "failed", "not run"]
    seconds: float = 0.0
    reason: str = ""
    entries: list[dict[str, Any]] = field(default_factory=list)
    output: str = ""


def run_parts(
    parts: Sequence[Part], setup: Setup, minutes: float, *, on_outcome: Callable[[list[Outcome]], None] = lambda _outcomes: None
) -> list[Outcome]:
    """The outcomes in order. `on_outcome(outcomes so far)` is called after each part.

    A part that is expected to take longer than the time left is not run; on a tiny run every part is tried while there is time.
    """
    until = time.monotonic() + 60 * minutes
    _import_once()
    outcomes: list[Outcome] = []
    stopped = ""
    for part in parts:
        left = until - time.monotonic()
        needed = 1 if setup.tiny else part.seconds
        if stopped:
            outcomes.append(Outcome(part, "not run", reason=stopped))
        elif left < needed:
            reason = f"it takes about {needed:.0f} s and {max(left, 0):.0f} s of {minutes:g} minutes were left"
            outcomes.append(Outcome(part, "not run", reason=reason))
        else:
            outcomes.append(run_part(part, setup, min(part.limit * (TINY_PATIENCE if setup.tiny else 1), left)))
            if part.first and outcomes[-1].state == "failed":
                stopped = f"{part.name} failed, and without it nothing can be said"
        on_outcome(outcomes)
    return outcomes


def run_part(part: Part, setup: Setup, limit: float) -> Outcome:
    """One part in a process of its own, killed with all it started after `limit` seconds."""
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        task = Task(part.target, setup, Path(folder, "record.jsonl"), Path(folder, "output.txt"), limit)
        process = multiprocessing.get_context("fork").Process(target=in_fork, args=(task,), name=part.name)
        process.start()
        try:
            process.join(limit)
            hung = process.is_alive()
        finally:
            _kill(process)
        output = task.output.read_text(encoding="utf-8", errors="replace") if task.output.exists() else ""
        entries = read_entries(task.record)
    reason = f"killed: it had not ended after {limit:.0f} s" if hung else _how_it_ended(process.exitcode)
    bad = reason or any(not entry.get("ok", True) for entry in entries)
    seconds = time.monotonic() - began
    return Outcome(part, "failed" if bad else "passed", seconds, reason, entries, _shortened(output) if bad else "")


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    """End the process and what it started: they are one process group."""
    if process.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.is_alive():
        process.kill()  # it may not have made its group yet
    process.join()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code else ""


def _shortened(output: str) -> str:
    if len(output) <= 2 * OUTPUT_KEPT:
        return output
    return f"{output[:OUTPUT_KEPT]}\n... {len(output) - 2 * OUTPUT_KEPT} characters left out ...\n{output[-OUTPUT_KEPT:]}"


def _import_once() -> None:
    """Import what every part imports; what cannot be imported is told by the parts, with a traceback each."""
    gc.disable()  # looking through what is imported, again and again, takes a fifth of the time
    for name in LIBRARIES:
        with suppress(Exception):
            import_module(name)
    gc.freeze()
    gc.enable()
