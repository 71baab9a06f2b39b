"""What a calibration's statistics cost: its time over that of its generation alone, and its memory as tokens grow tenfold.

    python -m tests.benchmarks.bench_calibration [--rounds 5] [--threads 1]

Prints two Markdown tables. The two sides of a ratio are run alternately on the same model and prompts, and the ratio is that of the
medians, with the range of the rounds' own ratios. CPU seconds are used, so that other work on the machine counts less.
"""

# ruff: noqa: T201 - it prints
import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.ml.fake_context import FakeContext
from tests.ml.peak_memory import peak_growth_bytes
from tests.ml.tiny_models import VOCAB, tiny_model_folder
from workers.handlers.calibration import run, shipped_prompts
from workers.lm.answering import CELL_PROMPTS, MOST_ROWS
from workers.lm.generation import generate_greedy
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.science.measuring import Row, measure
from workers.science.tokenvalues import TokenValues

MIB = 1 << 20
NEW_TOKENS = 128
SIZES: dict[str, dict[str, Any]] = {
    "4 layers x 64": {},
    "8 layers x 256": {"num_hidden_layers": 8, "hidden_size": 256, "intermediate_size": 1024, "head_dim": 64},
    "6 layers x 512": {"num_hidden_layers": 6, "hidden_size": 512, "intermediate_size": 2048, "head_dim": 128},
}


def generate_only(lm: LanguageModel, prompts: list[str]) -> None:
    """Generates what the handler generates, in the same batch, and reads nothing."""
    ids = [encode_prompt(lm, text) for text in prompts]
    generate_greedy(lm, ids, max_new_tokens=NEW_TOKENS, batch_rows=MOST_ROWS)


def calibrate(lm: LanguageModel, prompts: list[str]) -> None:
    """The whole handler."""
    fields = {"kind": "calibrate", "model": "bench", "experiment": "bench", "layers": None, "rule": "peeling"}
    run(fields | {"prompts": prompts, "max_new_tokens": NEW_TOKENS}, FakeContext(lm))


def cpu_seconds(work: Callable[[LanguageModel, list[str]], None], lm: LanguageModel, prompts: list[str]) -> float:
    start = time.process_time()
    work(lm, prompts)
    return time.process_time() - start


def bench_time(base: Path, rounds: int) -> None:
    prompts = [text[:50] for text in shipped_prompts()[: 2 * CELL_PROMPTS]]
    print(
        "| model | prompts x new tokens | generation, CPU s | calibration, CPU s | ratio (range of rounds) |\n|---|---|---|---|---|"
    )
    for name, config in SIZES.items():
        lm = replace(load(tiny_model_folder(base, "llama", **config)), eos_ids=frozenset())  # every answer at full length
        generate_only(lm, prompts[:1])
        sides = [(cpu_seconds(generate_only, lm, prompts), cpu_seconds(calibrate, lm, prompts)) for _ in range(rounds)]
        plain, whole = (statistics.median(side) for side in zip(*sides, strict=True))
        each = [with_statistics / without for without, with_statistics in sides]
        spread = f"{min(each):.3f} to {max(each):.3f}"
        print(
            f"| {name} | {len(prompts)} x {NEW_TOKENS} | {plain:.2f} | {whole:.2f} | {whole / plain:.3f} ({spread}) |", flush=True
        )


def bench_memory(base: Path) -> None:
    lm = load(tiny_model_folder(base, "llama", **SIZES["8 layers x 256"]))
    n_layers, width = lm.layout.n_layers, lm.layout.hidden_size
    draw = random.Random(0)
    print("\n| prompts | response tokens | peak above the start, MiB | their hidden states would take, MiB |\n|---|---|---|---|")
    for prompts in (10, 10, 100):  # the first also pays for what the libraries set up once
        rows = [
            Row([draw.randrange(VOCAB) for _ in range(20)], [draw.randrange(VOCAB) for _ in range(NEW_TOKENS)])
            for _ in range(prompts)
        ]

        def work(rows: list[Row] = rows) -> None:
            with closing(TokenValues(n_layers)) as tokens:
                measure(lm, rows, tokens, layers=range(n_layers), rule="peeling")

        peak, kept = peak_growth_bytes(work) / MIB, prompts * NEW_TOKENS * n_layers * width * 4 / MIB
        print(f"| {prompts} | {prompts * NEW_TOKENS} | {peak:.1f} | {kept:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a calibration's statistics.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    named = [line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    machine = named[0] if named else platform.machine()
    print(f"{machine}, {os.cpu_count()} CPUs, {chosen.threads} torch threads, torch {torch.__version__}")
    print(f"load average {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as folder:
        bench_time(Path(folder), chosen.rounds)
        bench_memory(Path(folder))


if __name__ == "__main__":
    main()
