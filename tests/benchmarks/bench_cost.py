"""What a calibration of a pretrained model costs on a running service: seconds of each phase, memory, and how good its ETAs were.

    python -m tests.benchmarks.bench_cost [--model smollm2 | gemma3] [--prompts 50] [--tokens 128]

Starts `binnacle up` in a folder of its own, registers the model of the tests (`make real` fetches it), submits one calibration over HTTP and
asks for the job each second. An ETA is judged by the whole time that it promised, from the job's start, over the time that the job took.
"""

# ruff: noqa: T201 - it prints
import argparse
import itertools
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.embedded.running import Up, until
from tests.real.models import GEMMA3, SMOLLM2
from workers.handlers.calibration import shipped_prompts

MODELS = {"smollm2": SMOLLM2, "gemma3": GEMMA3}
GIB = 1 << 30


def post(up: Up, path: str, body: dict[str, Any]) -> Any:
    """The answer to a POST with the administrator's key."""
    answer = httpx2.post(up.url + path, json=body, headers={"Authorization": f"Bearer {up.key}"})
    assert answer.is_success, answer.text
    return answer.json()


@dataclass
class Watched:
    """What was seen of a job: its ETAs (seconds from its start to the question, and to the end that was promised), each phase's total, and the
    workers' largest resident memory in GiB."""

    etas: list[tuple[float, float]] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    memory: float = 0.0


def watch(up: Up, job: str) -> tuple[dict[str, Any], Watched]:
    """The job when it is over, with the totals, estimates and memory that were seen."""
    found = Watched()
    while True:
        _, seen = up.get(f"/v1/jobs/{job}")
        if seen["state"] not in ("queued", "running"):
            return seen, found
        found.totals[seen["phase"]] = seen["progress"]["total"]
        if seen["eta_at"] and seen["started_at"]:
            start = datetime.fromisoformat(seen["started_at"])
            now = datetime.now(start.tzinfo)
            found.etas.append(((now - start).total_seconds(), (datetime.fromisoformat(seen["eta_at"]) - start).total_seconds()))
        found.memory = max([found.memory, *(psutil.Process(pid).memory_info().rss / GIB for pid in up.processes("spawn_main"))])
        time.sleep(1)


def phases(up: Up, job: dict[str, Any]) -> dict[str, float]:
    """Seconds of each phase, by its events."""
    _, found = up.get(f"/v1/jobs/{job['id']}/events?limit=1000")
    begun = [(one["data"]["phase"], datetime.fromisoformat(one["at"])) for one in found["items"] if one["type"] == "phase"]
    begun.append(("", datetime.fromisoformat(job["finished_at"])))
    return {name: (after - at).total_seconds() for (name, at), (_, after) in itertools.pairwise(begun)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=sorted(MODELS), default="smollm2")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=128)
    chosen = parser.parse_args()
    model = MODELS[chosen.model]
    print(f"{model.says}, {chosen.prompts} x {chosen.tokens}, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    with tempfile.TemporaryDirectory() as home:
        up = Up(Path(home), {"HF_HUB_OFFLINE": "1"}, "--port", "0", "--device", "cpu")
        up.start()
        try:
            post(up, "/v1/models", {"name": "real", "source": str(model.folder)})
            until(lambda: up.get("/v1/models/real")[1]["state"] == "ready", "the model's proofs", seconds=600)
            spec = {"model": "real", "prompts": shipped_prompts()[: chosen.prompts], "max_new_tokens": chosen.tokens}
            job, found = watch(up, post(up, "/v1/calibrations", spec)["id"])
            assert job["state"] == "succeeded", job["error"]
            took = phases(up, job)
        finally:
            up.stop()
    for name, seconds in took.items():
        print(f"| {name} ({found.totals.get(name)}) | {seconds:.1f} s | {seconds / took['generating']:.2f} |")
    whole = sum(took[name] for name in took if name.startswith(("generating", "measuring")))
    print(f"| all of these over generating | {whole:.1f} s | {whole / took['generating']:.2f} |")
    print(f"workers' memory at most: {found.memory:.2f} GiB; metrics: {job['metrics']}")
    start, end = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    lasted = (end - start).total_seconds()
    after = {asked: promised / lasted for asked, promised in found.etas if asked > 0.2 * lasted}
    off = [f"{ratio:.2f} at {asked:.0f} s" for asked, ratio in after.items() if not 1 / 1.5 <= ratio <= 1.5]
    print(
        f"the job: {lasted:.0f} s. Promised over taken, asked {len(after)} times after a fifth of it: median "
        f"{statistics.median(after.values()):.2f}, {min(after.values()):.2f} to {max(after.values()):.2f}; not within a factor of 1.5: "
        f"{', '.join(off) or 'none'}"
    )
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
