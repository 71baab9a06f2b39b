"""What computing shared prefixes once saves: an extraction's capture, the reference judge's reading beside the generation it judges, and of a
dose's prompts.

    python -m tests.benchmarks.bench_prefixes [--rounds 3] [--peers FOLDER] [--only PART] [--model toy]

Every round is a fresh process with texts of its own that no earlier round saw. CPU seconds on one thread, both sides of a ratio in one process
and in turn; block-tokens are counted at the first block. "Whole rows" is capture as it was: 32 rows at a time by length, each whole.
SmolLM2 is the model of the tests (`make real` fetches it); the toy has 8 layers, d=256, vocabulary 32k.
"""

# ruff: noqa: T201 - it prints
import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from terms.positions import parse_position
from tests.benchmarks.bench_steering import SIZE
from tests.ml.tiny_models import tiny_model_folder
from tests.real.models import PEERS_FOLDER, SMOLLM2
from workers.judges.coherence import Reader, fit_scale
from workers.lm import prefilling
from workers.lm.capture import reading_once
from workers.lm.gather import Example, gather_rows
from workers.lm.generation import GenerationCounts, generate_greedy
from workers.lm.interventions import Push
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.prefixes import plan_of
from workers.lm.prompts import encode_prompt
from workers.lm.steered import SteeredRow, generate_steered

POSITION = parse_position("response[:5]")
TEXT = (
    "what how should explain describe my your the a garden letter river market doctor winter music machine teacher bread story promise old "
    "small honest careful quiet angry early write plan choose repair visit answer friend neighbour city about before after without because"
)
QUESTIONS = 8
Timed = dict[str, float]


@contextmanager
def block_tokens(lm: LanguageModel) -> Iterator[list[int]]:
    """The tokens that each pass computes, pads included."""
    seen: list[int] = []
    first = lm.layout.site(0, "residual")
    handle = first.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0].shape[:2].numel()))
    try:
        yield seen
    finally:
        handle.remove()


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def sentence(draw: random.Random, least: int, most: int) -> str:
    return " ".join(draw.choice(TEXT.split()) for _ in range(draw.randint(least, most))).capitalize() + "?"


def persona(lm: LanguageModel, draw: random.Random, questions: int) -> list[Example]:
    """The same questions under two system prompts, each with a response of 5 tokens."""
    systems = [sentence(draw, 40, 60) for _ in range(2)]
    asked = [sentence(draw, 8, 16) for _ in range(questions)]
    return [
        Example(encode_prompt(lm, text, system), [draw.randrange(100, 2000) for _ in range(5)])
        for system in systems
        for text in asked
    ]


class _EnoughError(Exception):
    """Ends a bare pass after the last block that is needed."""


def bare_blocks(lm: LanguageModel, examples: Sequence[Example], deepest: int) -> None:
    """Runs the blocks up to `deepest` alone, 32 rows at a time by length, every row whole, and keeps nothing."""

    def end(*_: object) -> None:
        raise _EnoughError

    handle = lm.layout.site(deepest, "residual").register_forward_hook(end)
    try:
        for _, ids in padded(lm, examples):
            with torch.no_grad(), suppress(_EnoughError):
                lm.layout.decoder(input_ids=ids, use_cache=False)
    finally:
        handle.remove()


def padded(lm: LanguageModel, examples: Sequence[Example]) -> Iterator[tuple[Sequence[Example], torch.Tensor]]:
    """The rows by length, 32 at a time, with their ids [32, T] padded on the right."""
    rows = sorted(examples, key=len, reverse=True)
    for start in range(0, len(rows), 32):
        batch = rows[start : start + 32]
        ids = [[*one.prompt_ids, *one.response_ids] + [lm.pad_id] * (len(batch[0]) - len(one)) for one in batch]
        yield batch, torch.tensor(ids)


def whole_rows(lm: LanguageModel, examples: Sequence[Example], layers: Sequence[int]) -> dict[int, torch.Tensor]:
    """Window means by layer, every row computed whole."""
    found: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    for batch, ids_BT in padded(lm, examples):
        weights_B1T = torch.zeros(len(batch), 1, len(batch[0]))
        for number, one in enumerate(batch):
            window = one.window(POSITION)
            weights_B1T[number, 0, window.start : window.stop] = 1 / len(window)

        def read(layer: int, _component: str, h_BTD: torch.Tensor, weights: torch.Tensor = weights_B1T) -> None:
            found[layer].append(torch.bmm(weights, h_BTD.float())[:, 0])

        with torch.no_grad(), reading_once(lm, {"residual": read}, layers):
            lm.layout.decoder(input_ids=ids_BT, use_cache=False)
    return {layer: torch.cat(parts) for layer, parts in found.items()}


def capture(lm: LanguageModel, seed: int, peers: str) -> Timed:
    """The persona form: 100 questions under two system prompts."""
    examples = persona(lm, random.Random(seed), 100)
    layers = list(range(lm.layout.n_layers))
    rows = [[*one.prompt_ids, *one.response_ids] for one in examples]

    def ours() -> Any:
        return gather_rows(lm, examples, positions=[POSITION], components=["residual"], layers=layers)

    gather_rows(lm, examples[:2], positions=[POSITION], components=["residual"], layers=layers)  # warm
    with block_tokens(lm) as seen:
        shared = seconds(ours)
    found: Timed = {"shared": shared, "whole": seconds(lambda: whole_rows(lm, examples, layers))}
    found |= {"block_tokens": sum(seen), "minimum": plan_of(rows).least_tokens, "tokens": sum(map(len, rows))}
    if peers:
        sys.path.insert(0, peers)
        from steering_vectors import train_steering_vector

        texts = [lm.tokenizer.decode(row) for row in rows]
        pairs = list(zip(texts[:100], texts[100:], strict=True))
        found["peer"] = seconds(lambda: train_steering_vector(lm.model, lm.tokenizer, pairs, batch_size=32, show_progress=False))
    return found


def depth(lm: LanguageModel, seed: int, _peers: str) -> Timed:
    """One layer alone, from the first to the last, over all layers at once; and both over the bare blocks that they need. The rows share no
    beginning, so nothing is saved but blocks."""
    draw = random.Random(seed)
    examples = [Example([draw.randrange(100, 2000) for _ in range(draw.randint(30, 60))], [101] * 5) for _ in range(64)]
    last = lm.layout.n_layers - 1
    asked = {"first": [0], "middle": [last // 2], "last": [last], "all": list(range(last + 1))}

    def ours(layers: Sequence[int]) -> Any:
        return gather_rows(lm, examples, positions=[POSITION], components=["residual"], layers=layers)

    ours([0])  # warm
    found: Timed = {}
    for name, layers in asked.items():
        found[name] = seconds(partial(ours, layers))
        found[f"bare {name}"] = seconds(partial(bare_blocks, lm, examples, layers[-1]))
    return found


def judge(lm: LanguageModel, seed: int, _peers: str) -> Timed:
    """48 texts of up to 48 tokens, six doses of a random vector on eight questions, read by a fitted scale: in one call, and as a steering
    does, a dose at a time."""
    draw = random.Random(seed)
    examples = persona(lm, draw, 16)
    prompts = [tuple(one.prompt_ids) for one in examples]
    answers = generate_greedy(lm, prompts, max_new_tokens=48, batch_rows=64)
    rows = [(prompt, tuple(answer)) for prompt, answer in zip(prompts, answers, strict=True)]
    scale = fit_scale(lm, rows[:16], rows[16:], batch_rows=64)
    asked = doses(lm, draw, examples, seed)
    texts: list[Any] = []
    with block_tokens(lm) as generated:
        generating = seconds(lambda: texts.extend(generate_steered(lm, asked, max_new_tokens=48, batch_rows=64)))
    judged = [(tuple(row.prompt_ids), tuple(text.ids)) for row, text in zip(asked, texts, strict=True)]
    found = {"generating": generating, "generated_tokens": sum(generated), "answer_tokens": sum(len(ids) for _, ids in judged)}
    for name, step in (("at once", len(judged)), ("by dose", QUESTIONS)):
        reader = Reader(lm, scale, batch_rows=64)
        with block_tokens(lm) as read:
            parts = [judged[start : start + step] for start in range(0, len(judged), step)]
            found[f"reading {name}"] = sum(seconds(lambda part=part, reader=reader: reader.read(part)) for part in parts)
        found |= {f"read_tokens {name}": sum(read), f"passes {name}": len(read)}
    return found


def doses(lm: LanguageModel, draw: random.Random, examples: Sequence[Example], seed: int) -> list[SteeredRow]:
    """The same questions at each of six doses of a random vector at the middle layer, in units of its norm; the first is unsteered."""
    vector = torch.randn(lm.layout.hidden_size, generator=torch.Generator().manual_seed(seed))
    layer = lm.layout.n_layers // 2
    at_end = gather_rows(lm, examples, positions=[parse_position("prompt[-1]")], components=["residual"], layers=[layer])
    norm = float(at_end.values["prompt[-1]", "residual", layer].norm(dim=1).median())
    prompts = [tuple(encode_prompt(lm, sentence(draw, 8, 16))) for _ in range(QUESTIONS)]
    return [
        SteeredRow(prompt, (Push(layer, "residual", vector / vector.norm(), dose * norm),) if dose else ())
        for dose in (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
        for prompt in prompts
    ]


def dose(lm: LanguageModel, seed: int, _peers: str) -> Timed:
    """CPU seconds and block-tokens of one dose with 64 new tokens, its 40 questions in one batch and none ending early: its prompts computed
    whole, and their common beginnings once, unsteered and steered at the middle layer."""
    draw = random.Random(seed)
    endless = replace(lm, eos_ids=frozenset())
    prompts = [encode_prompt(lm, sentence(draw, 8, 16)) for _ in range(40)]
    push = Push(lm.layout.n_layers // 2, "residual", torch.randn(lm.layout.hidden_size), 1.0)
    rows = {"unsteered": [SteeredRow(ids, ()) for ids in prompts], "steered": [SteeredRow(ids, (push,)) for ids in prompts]}
    generate_steered(endless, rows["steered"][:2], max_new_tokens=2, batch_rows=2)  # warm
    found: Timed = {}
    for name, asked in rows.items():
        for way, shared in (("whole", False), ("shared", True)):
            with patch.object(prefilling, "plan_of", partial(plan_of, shared=shared)):
                seconds_of = one_batch(endless, asked)
            found |= {f"{name} {way}{part}": figure for part, figure in seconds_of.items()}
    return found


def one_batch(lm: LanguageModel, rows: Sequence[SteeredRow]) -> Timed:
    """The figures of one batch: its seconds, those of its prompts, and their block-tokens."""
    start = time.process_time()
    ends, tokens = [start], [0]

    def stepped(counts: GenerationCounts) -> None:
        if counts.tokens_done == 0:  # a pass over prompts
            ends[0], tokens[0] = time.process_time(), sum(seen)

    with block_tokens(lm) as seen:
        generate_steered(lm, rows, max_new_tokens=64, batch_rows=len(rows), on_step=stepped)
    return {"": time.process_time() - start, ", prompts": ends[0] - start, ", tokens of prompts": tokens[0]}


PARTS: dict[str, Callable[[LanguageModel, int, str], Timed]] = {
    "capture": capture,
    "depth": depth,
    "judge": judge,
    "dose": dose,
}
BASES = {"capture": "shared", "depth": "all", "judge": "generating", "dose": "unsteered whole"}
"""The figure of each part to which its others are given as ratios."""


def one_round(part: str, model: str, seed: int, peers: str) -> None:
    """Runs one part in this process and prints its figures as JSON."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = (
            SMOLLM2.folder
            if model == "smollm2"
            else tiny_model_folder(Path(folder), "llama", **{**SIZE, "max_position_embeddings": 1024})
        )
        print(json.dumps(PARTS[part](load(path), seed, peers)))


def main() -> None:
    """Runs the rounds and prints medians, with the range of each ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(PARTS))
    parser.add_argument("--model", choices=["smollm2", "toy"], default="smollm2")
    parser.add_argument("--peers", default=str(PEERS_FOLDER) if PEERS_FOLDER.is_dir() else "")
    parser.add_argument("--round", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.round is not None:
        one_round(asked.only, asked.model, asked.round, asked.peers)
        return
    for part in [asked.only] if asked.only else PARTS:
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.bench_prefixes",
            "--only",
            part,
            "--model",
            asked.model,
            "--peers",
            asked.peers,
        ]
        seeds = [random.SystemRandom().randrange(1 << 30) for _ in range(asked.rounds)]
        done = [subprocess.run([*command, "--round", str(seed)], check=True, stdout=subprocess.PIPE, text=True) for seed in seeds]
        rounds = [json.loads(one.stdout.splitlines()[-1]) for one in done]
        print(part, asked.model, {name: round(statistics.median(one[name] for one in rounds), 2) for name in rounds[0]})
        base = BASES[part]
        pairs = [(name, base) for name in rounds[0]] + [
            (name, f"bare {name}") for name in rounds[0] if f"bare {name}" in rounds[0]
        ]
        for name, base in pairs:
            ratios = sorted(one[name] / one[base] for one in rounds)
            print(f"  {name} over {base}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
