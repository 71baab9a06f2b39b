"""Shows a running job on stderr: a live line on a terminal; elsewhere a line for each new state or phase, each tenth of a phase, and every
`REPEAT_SECONDS` for what the job waits for.
"""

import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskProgressColumn

from binnacle.cli.output import err
from binnacle.cli.speech import spoken
from binnacle.cli.terminal import PlainColumn
from binnacle.results import Job

REPEAT_SECONDS = 20.0
"""Shorter than a long poll of the client, so that the change which ends one is always told."""


class Watcher:
    """Shows changes of a job; call it with every version of the job (`client.wait(job, on_change=watcher)`).

    lasting: whether the job continues after Ctrl-C, which is then said.
    """

    def __init__(self, *, lasting: bool = True) -> None:
        self._lasting = lasting
        self._bar = Progress(
            PlainColumn("{task.description}"), BarColumn(), TaskProgressColumn(), PlainColumn("{task.fields[note]}"), console=err
        )
        self._task = self._bar.add_task("", total=None, note="")
        self._said = self._waits = ""
        self._said_at = 0.0
        self._job = ""

    def __enter__(self) -> Self:
        if err.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()
        if kind is KeyboardInterrupt and self._lasting and self._job:
            err.print(f"{self._job} continues. Watch it again: binnacle watch {self._job}. Stop it: binnacle cancel {self._job}")

    def __call__(self, job: Job) -> None:
        self._job, progress, total = job["id"], job["progress"], total_of(job)
        if err.is_terminal:
            if not total:
                self._bar.tasks[self._task].total = None  # `update` takes None to mean that the total stays
            self._bar.update(
                self._task,
                description=headline(job),
                completed=progress["done"],
                total=total or None,
                note=remark(job, datetime.now(UTC)),
            )
            return
        tenth = progress["done"] * 10 // total if total else 0
        line = f"{headline(job)} {tenth * 10:3d} %" if total else headline(job)
        waits = job["waits_because"]["detail"] if job["waits_because"] else ""
        if line != self._said or (waits != self._waits and time.monotonic() - self._said_at >= REPEAT_SECONDS):
            self._said, self._waits, self._said_at = line, waits, time.monotonic()
            err.print(f"{line}  {remark(job, datetime.now(UTC))}".rstrip())


def total_of(job: Job) -> int:
    """Returns how much there is to do in the job's phase; 0 if that is unknown, and for a queued job that has waited for all that it needed."""
    progress = job["progress"]
    return 0 if job["state"] == "queued" and progress["done"] >= progress["total"] else progress["total"]


def headline(job: Job) -> str:
    """Returns state and phase, without repeating a word; for a job that waits for others, just that: those may well be running."""
    if job["state"] == "queued" and job["phase"] == "waiting":
        return "waiting for other jobs"
    return str(job["state"]) if job["phase"] == job["state"] else f"{job['state']}: {job['phase']}"


def remark(job: Job, now: datetime) -> str:
    """Returns further details: progress, the place in the queue, what the job waits for, the time left, why it failed."""
    parts = []
    progress = job["progress"]
    if total_of(job):
        parts.append(f"{progress['done']}/{progress['total']} {progress['unit']}")
    if job["queue_position"] is not None:
        parts.append(f"queue position {job['queue_position']}")
    if job["waits_because"]:
        parts.append(spoken(job["waits_because"]["detail"]).rstrip("."))
    if job["eta_at"] and (end := datetime.fromisoformat(job["eta_at"])) > now:
        parts.append(f"about {duration((end - now).total_seconds())} left")
    if job["attempt"] > 1:
        parts.append(f"attempt {job['attempt']}")
    if job["losses"] and job["state"] == "running":
        once = job["losses"] == 1
        parts.append(
            "an earlier attempt was lost with its process" if once else f"{job['losses']} attempts were lost with their processes"
        )
    if job["error"] and job["state"] == "failed":
        parts.append(f"{job['error'].get('code')}: {spoken(job['error'].get('detail') or 'no reason given')}")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Returns a duration as `42 s`, `3 min`, `2.5 h`; at least one second."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
