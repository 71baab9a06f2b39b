"""How slow this machine is: limits of CPU time were set on one machine, and another may need several times as long for the same work."""

import json
import re
import time

USUAL = 0.0022
"""Seconds of CPU that `_work` takes on the machine on which the limits were set."""


def slowness() -> float:
    """How many times as much CPU as there a fixed piece of work takes here, at least 1: the least of several tries, as load only adds."""
    taken = []
    for _ in range(7):
        began = time.thread_time()
        _work()
        taken.append(time.thread_time() - began)
    return max(1.0, min(taken) / USUAL)


def _work() -> None:
    """What most of the measured code does: it makes small objects, looks names up, calls functions and handles text."""
    rows = [{"name": f"row {number}", "value": number / 7, "tags": [str(number), "x"]} for number in range(600)]
    kept = {row["name"]: row for row in json.loads(json.dumps(rows)) if re.search(r"[13579]$", row["name"])}
    "".join(sorted(f"{name}: {kept[name]['value']:.3f}" for name in kept))
