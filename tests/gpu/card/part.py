"""One part of the card, in this process: `python -m tests.gpu.card.part MODULE:FUNCTION --device cuda:0 --record FILE`.

The runner starts parts by fork, so that the libraries are imported once. CUDA cannot be used in a fork of a process that has used it;
should a library have done so at import, the part starts again as a process of its own.
"""

import argparse
import faulthandler
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.gpu.card.record import Record, Setup


@dataclass(frozen=True)
class Task:
    """What to run, and where its findings and its output go. `limit`: seconds, after which it will be killed."""

    target: str
    setup: Setup
    record: Path
    output: Path
    limit: float


def run_task(task: Task) -> None:
    """Run the part; exceptions are recorded, and the process then ends with 1."""
    record = Record(task.record)
    module, function = task.target.split(":")
    try:
        getattr(import_module(module), function)(task.setup, record)
    except BaseException as error:
        record.error(task.target, error)
        raise SystemExit(1) from error


def in_fork(task: Task) -> None:
    """`run_task` in a process that was just forked: its own process group, its output in a file, a crash or a hang with its stack."""
    os.setpgid(0, 0)
    output = os.open(task.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if _cuda_was_used_before_the_fork():
        os.execv(sys.executable, [sys.executable, "-m", "tests.gpu.card.part", *_arguments(task)])
    watch(task.limit)
    run_task(task)


def watch(limit: float) -> None:
    """Write the stack to standard error on a fatal signal, and shortly before the time is over."""
    faulthandler.enable(file=2)
    faulthandler.dump_traceback_later(max(0.1, limit - 1), file=2)


def _cuda_was_used_before_the_fork() -> bool:
    import torch

    return bool(torch.cuda._is_in_bad_fork())


def _arguments(task: Task) -> list[str]:
    arguments = [task.target, "--device", task.setup.device, "--record", str(task.record), "--limit", str(task.limit)]
    return [*arguments, "--tiny"] if task.setup.tiny else arguments


def main() -> None:
    parser = argparse.ArgumentParser(description="One part of the GPU card.")
    parser.add_argument("target", help="module:function")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--record", type=Path, default=Path("/dev/stdout"))
    parser.add_argument("--limit", type=float, default=600)
    chosen = parser.parse_args()
    watch(chosen.limit)
    run_task(Task(chosen.target, Setup(chosen.device, chosen.tiny), chosen.record, Path(os.devnull), chosen.limit))


if __name__ == "__main__":
    main()
