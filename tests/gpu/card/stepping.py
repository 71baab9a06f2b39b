"""What happens within a step of generation: its time, the device's share of it, and where the host waits for the device.

All of it hangs on `on_step`, which generation calls after every token step.
"""

import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from tests.gpu.card.record import Setup
from tests.gpu.card.timing import synchronize

OnStep = Callable[[object], None]
Generate = Callable[[OnStep], object]
Event = dict[str, Any]

SYNC_WARNING = "called a synchronizing"  # torch goes on: "CUDA operation"


class _EnoughError(Exception):
    """Ends a generation that has given enough."""


def step_seconds(generate: Generate) -> list[float]:
    """Seconds of each step but the first, which holds the prefill."""
    at: list[float] = []
    generate(lambda _: at.append(time.perf_counter()))
    return [after - before for before, after in pairwise(at)]


def traced(setup: Setup, generate: Generate, *, start: int, steps: int) -> tuple[list[Event], float]:
    """The profiler's events of `steps` steps after the first `start`, and the wall seconds these took under it."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if setup.cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profiler = torch.profiler.profile(activities=activities)
    began, wall = 0.0, 0.0

    def first() -> None:
        nonlocal began
        synchronize(setup)
        profiler.start()
        began = time.perf_counter()

    def last() -> None:
        nonlocal wall
        synchronize(setup)
        wall = time.perf_counter() - began
        profiler.stop()

    _between(generate, start, steps, first, last)
    with TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(trace))
        events: list[Event] = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    return events, wall


def split(events: Sequence[Event], wall: float, steps: int) -> dict[str, float]:
    """Per step: milliseconds in which the device works, in which the host launches, waits and does anything else; and counts."""
    timed = [event for event in events if event.get("ph") == "X"]
    device = [event for event in timed if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    calls = [event for event in timed if event.get("cat") in ("cuda_runtime", "cuda_driver")]
    launches = [event for event in calls if "launch" in event["name"].lower()]
    waits = [event for event in calls if "synchronize" in event["name"].lower()]
    launching, waiting = (sum(event["dur"] for event in found) / 1e3 for found in (launches, waits))
    return {
        "wall": 1e3 * wall / steps,
        "device busy": _covered(device) / 1e3 / steps,
        "launches": launching / steps,
        "waiting for the device": waiting / steps,
        "other host work": (1e3 * wall - launching - waiting) / steps,
        "number of kernels": sum(event["cat"] == "kernel" for event in device) / steps,
        "number of launches": len(launches) / steps,
        "number of waits": len(waits) / steps,
        "number of torch calls": sum(event.get("cat") == "cpu_op" for event in timed) / steps,
    }


def _covered(events: Sequence[Event]) -> float:
    """Microseconds in which at least one of the events runs."""
    total, end = 0.0, float("-inf")
    for event in sorted(events, key=lambda event: event["ts"]):
        total += max(0.0, event["ts"] + event["dur"] - max(end, event["ts"]))
        end = max(end, event["ts"] + event["dur"])
    return total


def longest_kernels(events: Sequence[Event], steps: int, count: int = 12) -> list[tuple[str, float, float]]:
    """The kernels that take most: name, milliseconds a step, times a step."""
    spent: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "kernel":
            spent[event["name"]] += event["dur"]
            times[event["name"]] += 1
    return [(name, micro / 1e3 / steps, times[name] / steps) for name, micro in spent.most_common(count)]


def waits_by_place(setup: Setup, generate: Generate, *, start: int, steps: int) -> dict[str, float]:
    """How often in a step the host waits for the device, by file and line; torch tells, on CUDA alone."""
    seen: list[warnings.WarningMessage] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def first() -> None:
            caught.clear()
            if setup.cuda:
                torch.cuda.set_sync_debug_mode("warn")

        def last() -> None:
            if setup.cuda:
                torch.cuda.set_sync_debug_mode("default")
            seen.extend(caught)

        _between(generate, start, steps, first, last)
    places = Counter(
        f"{'/'.join(Path(one.filename).parts[-3:])}:{one.lineno}" for one in seen if SYNC_WARNING in str(one.message).lower()
    )
    return {place: count / steps for place, count in places.most_common()}


def _between(generate: Generate, start: int, steps: int, first: Callable[[], None], last: Callable[[], None]) -> None:
    """Call `first` after step `start` and `last` after `steps` more; generation then ends. Raises ValueError when it ends before."""
    done = 0

    def on_step(_: object) -> None:
        nonlocal done
        done += 1
        if done == start:
            first()
        elif done == start + steps:
            last()
            raise _EnoughError

    try:
        generate(on_step)
    except _EnoughError:
        return
    raise ValueError(f"generation ended after {done} steps, before the {start + steps} that were to be looked at")
