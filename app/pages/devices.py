"""Describes what the devices do, in a few words for the top of the page. Pure."""

from collections.abc import Sequence
from itertools import groupby

from app.devices.schemas import HoldOut
from app.jobs.schemas import Queue
from app.pages.wording import when
from app.status.schemas import WorkerOut
from binnacle.words.counting import counted

MOST = 6
"""Most devices that are described individually."""
DONE = {"paused": "Paused", "draining": "Drained"}


def devices_in_words(workers: Sequence[WorkerOut], own_jobs: frozenset[str]) -> str:
    """Returns `GPU 0: busy (another user). GPU 1: free.`; for more than six devices, how many are free."""
    serving = [worker for worker in workers if worker.job_class == "model"]
    if not serving:
        return "No model worker is running: jobs wait until one starts."
    hosts = len({worker.host for worker in serving})
    parts = []
    for (host, device), members in groupby(sorted(serving, key=_place), key=_place):
        name = _name(device) + (f" on {host}" if hosts > 1 else "")
        parts.append(f"{name}: {_together([_state(worker, own_jobs) for worker in members])}.")
    if len(parts) > MOST:
        free = sum(_state(worker, own_jobs) == "free" for worker in serving)
        return f"{free} of {counted(len(serving), 'worker')} {'is' if free == 1 else 'are'} free."
    return " ".join(parts)


def holds_in_words(workers: Sequence[WorkerOut], queue: Queue) -> str:
    """Returns `Paused by ada: driver update. The job starts once a worker is resumed.`; each reason once, of the running workers that serve
    the queue."""
    job_class = "light" if queue == "light" else "model"
    holds = [worker.hold for worker in workers if worker.alive and worker.job_class == job_class and worker.hold is not None]
    said = [f"{DONE[hold.mode]} by {hold.by}{f': {hold.reason}' if hold.reason else ''}{_until(hold)}." for hold in holds]
    return " ".join([*dict.fromkeys(said), "The job starts once a worker is resumed."])


def _until(hold: HoldOut) -> str:
    return "" if hold.until is None else f", until {when(hold.until)}"


def _place(worker: WorkerOut) -> tuple[str, str]:
    return worker.host, worker.device


def _name(device: str) -> str:
    return f"GPU {device.removeprefix('cuda:')}" if device.startswith("cuda:") else device.upper()


def _state(worker: WorkerOut, own_jobs: frozenset[str]) -> str:
    if not worker.alive:
        return "silent"
    if worker.busy_with is not None:
        return "busy (your job)" if worker.busy_with in own_jobs else "busy (another user)"
    if worker.hold is not None:
        return worker.hold.mode
    return "out of disk space" if worker.blocked is not None else "free"


def _together(states: list[str]) -> str:
    """Returns the state of one worker; for several, how many are in each state."""
    if len(states) == 1:
        return states[0]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
