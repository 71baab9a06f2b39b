"""What it costs to check a model: seconds and peak memory of inspecting, loading and proving it, at 135M and at 1.5B parameters.

`python -m tests.benchmarks.bench_proofs`. Needs SmolLM2 (`make real`), and 4 GB of disk and memory for the larger model: the shape of
Qwen2.5-1.5B, random weights in bfloat16, SmolLM2's tokenizer; it is removed afterwards. Each model runs in a process of its own.
"""

# ruff: noqa: T201 - it prints
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.gpu.card.models import SHAPES
from tests.real.folders import copy_tokenizer
from tests.real.models import SMOLLM2
from workers.lm.checkpoint import quiet
from workers.lm.inspection import inspect_folder
from workers.lm.loading import load
from workers.lm.proofs.passport import PROOFS, Passport, prove

GIB = 1 << 30


def peak(*, reset: bool = False) -> tuple[float, float]:
    """Resident memory now and its peak, in GiB; `reset` makes the peak start from now."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    now, most = (int(lines[name].split()[0]) * 1024 / GIB for name in ("VmRSS", "VmHWM"))
    return now, most


def measured(folder: Path, dtype: str) -> dict[str, Any]:
    """Inspecting, loading and proving in this process: wall-clock and processor seconds, and peak memory above what torch itself takes."""
    torch.set_num_threads(1)
    start, _ = peak(reset=True)
    rows: dict[str, Any] = {}

    def timed(name: str, run: Any) -> Any:
        before = time.perf_counter(), time.process_time()
        found = run()
        now, most = peak()
        rows[name] = {
            "seconds": time.perf_counter() - before[0],
            "cpu": time.process_time() - before[1],
            "kept": now - start,
            "peak": most - start,
        }
        peak(reset=True)
        return found

    facts = timed("inspect", lambda: inspect_folder(folder))
    lm = timed("load", lambda: load(folder, facts=facts, dtype=dtype))
    found: list[Any] = []
    for name, run in PROOFS.items():
        found.append(timed(name, lambda run=run: run(lm, lambda: None)))
    whole: Passport = timed("prove", lambda: prove(lm))
    return {
        "weights": lm.resident_bytes / GIB,
        "outcome": whole.outcome,
        "rows": rows,
        "limits": [p.sentence for p in found if p.outcome != "passed"],
    }


def large(folder: Path) -> Path:
    """A random model of 1.5B parameters in bfloat16, as a folder."""
    settings = SHAPES["1.5B"]
    torch.manual_seed(0)
    with quiet():
        config = transformers.Qwen2Config(**settings, bos_token_id=1, eos_token_id=2, pad_token_id=2)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(folder)
    copy_tokenizer(folder)
    return folder


def table(title: str, found: dict[str, Any]) -> str:
    lines = [f"{title}: {found['weights']:.2f} GiB of weights in memory, {found['outcome']}"]
    lines += ["", "| what | seconds | processor seconds | peak GiB | peak / weights |", "|---|---|---|---|---|"]
    for name, row in found["rows"].items():
        lines.append(
            f"| {name} | {row['seconds']:.1f} | {row['cpu']:.1f} | {row['peak']:.2f} | {row['peak'] / found['weights']:.2f} |"
        )
    return "\n".join([*lines, *found["limits"], ""])


def in_a_process(title: str, folder: Path, dtype: str) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.bench_proofs", str(folder), dtype]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]).stdout
    print(table(title, json.loads(said.splitlines()[-1])), flush=True)


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(measured(Path(sys.argv[1]), sys.argv[2])))
        return
    print(f"load average {os.getloadavg()[0]:.1f}")
    for dtype in ("float32", "bfloat16"):
        in_a_process(f"{SMOLLM2.says}, 135M in {dtype}", SMOLLM2.folder, dtype)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            [sys.executable, "-c", f"from pathlib import Path; from tests.benchmarks.bench_proofs import large; large(Path({scratch!r}))"],
            check=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        in_a_process("random, 1.5B in bfloat16", Path(scratch), "bfloat16")
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
