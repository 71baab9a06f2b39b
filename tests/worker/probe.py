"""Two kinds of jobs for tests. Their handler does on command what goes wrong in real jobs: it hangs, dies or runs out of memory."""

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.orm import Session

from app.jobs.kinds import KINDS, Kind
from app.jobs.models import Job
from workers.handlers import HANDLERS
from workers.job import ArtifactBytes, JobContext, JobFault, Outcome, TransientFault

log = structlog.get_logger(__name__)

KINDS["probe"] = "tests.worker.probe:PROBE"
KINDS["glance"] = "tests.worker.probe:GLANCE"
HANDLERS["probe"] = HANDLERS["glance"] = "tests.worker.probe:run"


class Probe(Kind):
    name = "probe"
    handler_version = int(os.environ.get("PROBE_VERSION", "1"))

    def record(self, session: Session, job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
        return outcome

    def links(self, job: Job) -> dict[str, str]:
        return {}


class Glance(Probe):
    """A short job, for which longer ones make room, as for a generation."""

    name = "glance"
    handler_version = 1
    short = True


PROBE = Probe()
GLANCE = Glance()


def run(spec: dict[str, Any], context: JobContext) -> Outcome:
    """Runs `steps` steps of `seconds` each and commits a cell after each. Does `do` at step `at`, only the first `times` times with `count_in`.

    `at_most` is the number of steps that it announces; `kept` in the result lists the steps found finished. Takes the model `takes`; `threads`
    in the result is then torch's number of threads. `gate` is a file without which step `at` does not begin; a job that waits for it can be
    stopped, and yields.
    """
    if "takes" in spec:
        context.model(spec["takes"])
    steps = spec.get("steps", 1)
    kept = []
    context.phase("stepping", spec.get("at_most", steps), "steps", stall_seconds=spec.get("stall"))
    for step in range(steps):
        cell = context.cell(f"step/{step}")
        if cell is not None:
            kept.append(step)
            continue
        while step == spec.get("at", 0) and "gate" in spec and not Path(spec["gate"]).exists():
            time.sleep(0.05)
            context.may_yield()
        if step == spec.get("at", 0) and "do" in spec and _still_to_do(spec):
            log.info("probe.acts", act=spec["do"])  # `acts` looks for this line
            _ACTS[spec["do"]](spec)
        deadline = time.monotonic() + spec.get("seconds", 0)
        while time.monotonic() < deadline:
            time.sleep(min(0.02, max(0.0, deadline - time.monotonic())))
            context.check()
        context.commit_cell(f"step/{step}", f"step {step} of {spec.get('text', '')}".encode())
        context.progress(step + 1)
        context.may_yield()
    text = spec.get("text", "done")
    threads = {"threads": _threads()} if "takes" in spec else {}
    return Outcome({"text": text, "kept": kept, **threads}, [ArtifactBytes("text.txt", text.encode(), "text/plain")])


def acts(log_text: str, job_id: str) -> bool:
    """Whether a node's log says that this job's probe began what it was told to do. The job's row says "running" earlier: a probe that is
    stopped in between stops politely, whatever it was told."""
    return any("probe.acts" in line and job_id in line for line in log_text.splitlines())


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _still_to_do(spec: dict[str, Any]) -> bool:
    """Whether `do` is to be done once more; counts its calls in the file `count_in`, which outlives the process."""
    if "count_in" not in spec:
        return True
    with Path(spec["count_in"]).open("a+", encoding="ascii") as calls:
        calls.write("x")
        calls.flush()
        calls.seek(0)
        return len(calls.read()) <= spec.get("times", 1)


def _hang(spec: dict[str, Any]) -> None:
    """Holds the interpreter lock, as a stuck native call does: not even the heartbeat runs."""
    ctypes.PyDLL(None).sleep(int(spec.get("hang_seconds", 60)))


def _deaf(spec: dict[str, Any]) -> None:
    """Sleeps with the heartbeat running, and never checks whether it should stop."""
    time.sleep(spec.get("hang_seconds", 60))


def _eat(spec: dict[str, Any]) -> None:
    """Fills `megabytes` MB of memory, 8 MB at a time."""
    eaten = []
    for _ in range(spec["megabytes"] // 8):
        eaten.append(b"x" * (8 << 20))
        time.sleep(0.01)


def _fault(_spec: dict[str, Any]) -> None:
    raise JobFault("wrong_somehow", "The spec is wrong; write another.", step=1)


def _transient(_spec: dict[str, Any]) -> None:
    raise TransientFault("the judge is down")


def _memory(_spec: dict[str, Any]) -> None:
    raise MemoryError("Unable to allocate 9.00 TiB")


def _memory_for_nothing(_spec: dict[str, Any]) -> None:
    """Runs out of memory, and the first attempts to judge and to log the error run out of memory too."""
    from workers import doorbell, runner

    def failing(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def once(*_args: Any, **_kwargs: Any) -> None:
            setattr(owner, name, real)
            raise MemoryError("not even for this")

        setattr(owner, name, once)

    failing(runner, "judge")
    failing(doorbell.log, "exception")
    raise MemoryError("Unable to allocate 9.00 TiB")


def _bug(_spec: dict[str, Any]) -> None:
    raise ZeroDivisionError("a bug")


def _sticky(_spec: dict[str, Any]) -> None:
    """Indexes outside a tensor on the device: the failed assertion makes the whole CUDA context unusable."""
    import torch

    rows = torch.zeros(1, device="cuda")
    rows[torch.tensor([5], device="cuda")].sum().item()


_ACTS = {
    "die": lambda _spec: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda _spec: os._exit(3),
    "hang": _hang,
    "deaf": _deaf,
    "eat": _eat,
    "fault": _fault,
    "transient": _transient,
    "memory": _memory,
    "memory for nothing": _memory_for_nothing,
    "bug": _bug,
    "sticky": _sticky,
}
