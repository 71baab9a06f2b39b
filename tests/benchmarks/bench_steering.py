"""Steering's speed: against repeng called as its README says, against our own unsteered generation, and bfloat16's agreement.

    pip install --no-deps --target /some/folder repeng==0.4.0
    python -m tests.benchmarks.bench_steering [--repeng /some/folder] [--rounds 3] [--device cpu]
    python -m tests.benchmarks.bench_steering --model smollm2 --rows 64

One process, the sides of a ratio run alternately on the same random weights (8 layers, d=256, vocabulary 32k), ratios of the medians with
the range of the rounds' own. With `--model`, a folder or `smollm2` (the model of the tests), only steered over unsteered is measured, on prompts
of the shipped traits: texts of random tokens meet many more near ties.
CPU seconds on a CPU, so that other work on the machine counts less; wall seconds on a GPU.
"""

# ruff: noqa: T201 - it prints
import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shipped import CHAT_TRAIT_NAMES, trait_folder
from tests.ml.tiny_models import BOS, tiny_model_folder
from tests.real.models import SMOLLM2
from workers.lm.interventions import Push
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.refilling import GenerationCounts
from workers.lm.steered import SteeredRow, generate_steered

NEW_TOKENS = 24
VOCAB = 32_000
SIZE: dict[str, Any] = {
    "num_hidden_layers": 8,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 32,
    "vocab_size": VOCAB,
    "initializer_range": 0.05,
}
DOSES = (1.0, 2.0, 4.0, 6.0, 8.0)
INSTALL = "repeng is not there: pip install --no-deps --target /some/folder repeng==0.4.0, then --repeng /some/folder"


def prompts(count: int, vocab: int = VOCAB, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    return [[BOS, *(draw.randrange(10, vocab) for _ in range(draw.randrange(10, 20)))] for _ in range(count)]


def trait_prompts(lm: LanguageModel, count: int, seed: int) -> list[list[int]]:
    """As many prompts of the shipped chat traits, drawn at random from their 480. Raises ValueError for more."""
    files = [trait_folder(name) / f"{side}.jsonl" for name in CHAT_TRAIT_NAMES for side in ("positive", "negative")]
    texts = sorted({json.loads(line)["prompt"] for file in files for line in file.read_text().splitlines()})
    return [lm.tokenizer(text)["input_ids"] for text in random.Random(seed).sample(texts, count)]


def vectors(count: int, width: int = SIZE["hidden_size"]) -> list[torch.Tensor]:
    made = torch.randn(count, width, generator=torch.Generator().manual_seed(1))
    return list(made / made.norm(dim=-1, keepdim=True))


def sweep() -> list[SteeredRow]:
    """5 doses of one vector at one layer, on 8 prompts."""
    [vector] = vectors(1)
    return [SteeredRow(prompt, (Push(4, "residual", vector, dose),)) for dose in DOSES for prompt in prompts(8)]


def distinct(count: int) -> list[SteeredRow]:
    """As many (layer, vector, dose) as rows."""
    return [
        SteeredRow(prompt, (Push(i % SIZE["num_hidden_layers"], "residual", vector, 1 + 7 * i / count),))
        for i, (prompt, vector) in enumerate(zip(prompts(count), vectors(count), strict=True))
    ]


def ours(lm: LanguageModel, rows: Sequence[SteeredRow], batch_rows: int) -> list[list[int]]:
    answers = generate_steered(lm, rows, max_new_tokens=NEW_TOKENS, batch_rows=batch_rows)
    return [answer.ids for answer in answers]


class Repeng:
    """The same rows through repeng: one wrapped model, and for each row set_control and generate, as its README does."""

    def __init__(self, lm: LanguageModel) -> None:
        np.float_ = np.float64  # type: ignore[attr-defined]  # a name that numpy 2 dropped and repeng 0.4.0 uses
        from repeng import ControlModel, ControlVector

        self._lm = lm
        self._vector = ControlVector
        self._wrap = ControlModel
        self.model: Any = None

    def __enter__(self) -> "Repeng":
        self.model = self._wrap(self._lm.model, list(range(self._lm.layout.n_layers)))
        return self

    def __exit__(self, *_: object) -> None:
        self.model.unwrap()

    def generate(self, rows: Sequence[SteeredRow]) -> list[list[int]]:
        """repeng adds c v to a block's output at every position, as our `add` with scope all."""
        found = []
        nothing = np.zeros(SIZE["hidden_size"], dtype=np.float32)
        for row in rows:
            [push] = row.pushes
            directions = dict.fromkeys(range(self._lm.layout.n_layers), nothing) | {push.layer: push.vector.numpy()}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it copies a tensor with torch.tensor
                self.model.set_control(self._vector(model_type="llama", directions=directions), push.coefficient)
            ids = torch.tensor([list(row.prompt_ids)], device=self._lm.device)
            out = self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=0
            )
            found.append(out[0, ids.shape[1] :].tolist())
        self.model.reset()
        return found


class Clock:
    """Seconds of work: CPU seconds, or wall seconds where a device works beside the CPU."""

    def __init__(self, device: str) -> None:
        self._cuda = device != "cpu"

    def __call__(self, work: Callable[[], object]) -> float:
        now = time.perf_counter if self._cuda else time.process_time
        start = now()
        work()
        if self._cuda:
            torch.cuda.synchronize()
        return now() - start


def compare(clock: Clock, rounds: int, one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float, str]:
    """Median seconds of both, and the ratio of the first over the second with the range of the rounds."""
    one(), other()
    return over([(clock(one), clock(other)) for _ in range(rounds)])


def over(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, str]:
    """Median seconds of both sides, and the ratio of the first over the second with the range of the rounds."""
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    each = [x / y for x, y in pairs]
    return a, b, f"{a / b:.2f} ({min(each):.2f} to {max(each):.2f})"


def bench_repeng(lm: LanguageModel, clock: Clock, rounds: int) -> None:
    print("| rows x 24 new tokens | repeng 0.4.0, s | ours, s | times as fast (range of rounds) | same texts | goal |")
    print("|---|---|---|---|---|---|")
    try:
        repeng = Repeng(lm)
    except ImportError:
        print(f"| {INSTALL} | | | not measured | | |\n")
        return
    for name, rows, goal in (("5 doses x 8 prompts", sweep(), "3"), ("64 distinct (layer, vector, dose)", distinct(64), "12")):
        theirs: list[list[int]] = []
        mine: list[list[int]] = []

        def run_theirs(rows: list[SteeredRow] = rows, out: list[list[int]] = theirs) -> None:
            with repeng:
                out[:] = repeng.generate(rows)

        def run_ours(rows: list[SteeredRow] = rows, out: list[list[int]] = mine) -> None:
            out[:] = ours(lm, rows, len(rows))

        slow, fast, ratio = compare(clock, rounds, run_theirs, run_ours)
        same = sum(a == b for a, b in zip(theirs, mine, strict=True))
        print(f"| {name} | {slow:.2f} | {fast:.2f} | {ratio} | {same} of {len(rows)} | {goal} |", flush=True)


def bench_steered(lm: LanguageModel, clock: Clock, rounds: int, count: int, draw: Callable[[int], list[list[int]]]) -> None:
    """`draw` makes the prompts of a round from its number. How many answers meet near ties, each of which costs a pass more, is a matter of
    the texts.
    """
    print(
        f"\n| {count} rows x {NEW_TOKENS} new tokens | unsteered, tok/s | steered, tok/s | steered over unsteered (range) | near ties | goal |"
    )
    print("|---|---|---|---|---|---|")
    [vector, *_] = each = vectors(count, lm.layout.hidden_size)
    layers = lm.layout.n_layers
    steerings = {
        "1 steering": [(Push(layers // 2, "residual", vector, 4.0),)] * count,
        f"{count} distinct steerings over {layers} layers": [
            (Push(i % layers, "residual", own, 1 + 7 * i / count),) for i, own in enumerate(each)
        ],
    }
    for name, pushes in steerings.items():
        pairs = []
        counts = GenerationCounts(), GenerationCounts()
        for seed in range(rounds + 1):
            asked = draw(seed)
            sides = [SteeredRow(prompt) for prompt in asked], [SteeredRow(*row) for row in zip(asked, pushes, strict=True)]

            def run(
                side: int, sides: tuple[list[SteeredRow], ...] = sides, counts: tuple[GenerationCounts, ...] = counts
            ) -> None:
                generate_steered(lm, sides[side], max_new_tokens=NEW_TOKENS, batch_rows=count, counts=counts[side])

            took = {side: clock(partial(run, side)) for side in ((0, 1), (1, 0))[seed % 2]}
            if seed:  # the first round warms up
                pairs.append((took[0], took[1]))
        slow, fast, ratio = over(pairs)
        tokens = count * NEW_TOKENS
        print(
            f"| {name} | {tokens / slow:,.0f} | {tokens / fast:,.0f} | {ratio} | {counts[0].settled_alone}; {counts[1].settled_alone} | 0.97 |",
            flush=True,
        )


def bench_refilling(lm: LanguageModel, clock: Clock, rounds: int) -> None:
    """Answers of unequal lengths, 64 at a time: with refilling no row waits for the longest."""
    rows = distinct(256)
    whole = ours(lm, rows, 256)
    draw = random.Random(2)
    ends = frozenset(answer[draw.randrange(1, NEW_TOKENS)] for answer in whole[::3])
    ending = replace(lm, eos_ids=ends)

    def in_batches() -> None:
        for start in range(0, len(rows), 64):
            ours(ending, rows[start : start + 64], 64)

    slow, fast, ratio = compare(clock, rounds, in_batches, lambda: ours(ending, rows, 64))
    lengths = sorted(map(len, ours(ending, rows, 64)))
    print(
        f"\n256 rows of {lengths[0]} to {lengths[-1]} tokens, mean {sum(lengths) / 256:.1f}, 64 at a time: batch after batch {slow:.2f} s,"
    )
    print(f"refilled {fast:.2f} s, times as fast {ratio}")


def bench_agreement(folder: Path, device: str) -> None:
    """What bfloat16 and float16 promise: nothing. How often a row's text is that of the row alone all the same."""
    print("\n| type | rows whose text equals the row alone | near ties settled |\n|---|---|---|")
    for dtype in ("float32", "bfloat16", "float16"):
        lm = replace(load(folder, device=device, dtype=dtype), eos_ids=frozenset())
        rows = distinct(64)
        counts = GenerationCounts()
        together = generate_steered(lm, rows, max_new_tokens=NEW_TOKENS, batch_rows=64, counts=counts)
        alone = [generate_steered(lm, [row], max_new_tokens=NEW_TOKENS, batch_rows=1)[0] for row in rows]
        same = sum(a.ids == b.ids for a, b in zip(together, alone, strict=True))
        print(f"| {dtype} | {same} of {len(rows)} | {counts.settled_alone} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of steered generation.")
    parser.add_argument("--repeng", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", help="a folder, or smollm2")
    parser.add_argument("--rows", type=int, default=256)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.repeng:
        sys.path.append(str(chosen.repeng))
    named = [line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    machine = torch.cuda.get_device_name() if chosen.device != "cpu" else (named or [platform.machine()])[0]
    print(f"{machine}, {os.cpu_count()} CPUs, {chosen.threads} torch threads, torch {torch.__version__}")
    print(f"load average {os.getloadavg()[0]:.1f}\n")
    clock = Clock(chosen.device)
    if chosen.model:
        folder = SMOLLM2.folder if chosen.model == "smollm2" else Path(chosen.model)
        lm = replace(load(folder, device=chosen.device), eos_ids=frozenset())
        bench_steered(lm, clock, chosen.rounds, chosen.rows, partial(trait_prompts, lm, chosen.rows))
        return
    with tempfile.TemporaryDirectory() as base:
        folder = tiny_model_folder(Path(base), "llama", **SIZE)
        lm = replace(load(folder, device=chosen.device), eos_ids=frozenset())
        lm.model.generation_config.eos_token_id = None  # repeng's rows run to full length as ours do
        bench_repeng(lm, clock, chosen.rounds)
        bench_steered(lm, clock, chosen.rounds, chosen.rows, lambda seed: prompts(chosen.rows, seed=seed))
        bench_refilling(lm, clock, chosen.rounds)
        bench_agreement(folder, chosen.device)


if __name__ == "__main__":
    main()
