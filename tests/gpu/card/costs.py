"""What is added to bare generation and bare forward passes: by calibration, extraction, the reference judge and the probe."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from terms.methods import parse_method
from terms.positions import parse_position
from tests.gpu.card.models import random_lm
from tests.gpu.card.record import Record, Setup
from tests.gpu.card.rows import distinct, prompts
from tests.gpu.card.timing import alternating, seconds, spread
from tests.ml.calibrating import spec
from tests.ml.fake_context import FakeContext
from tests.ml.steered_rows import texts
from workers.handlers.calibration import run as calibrate
from workers.handlers.calibration import shipped_prompts
from workers.judges.base import JudgeItem
from workers.judges.material import Material
from workers.judges.reference import ReferenceJudge
from workers.lm.answering import MOST_ROWS
from workers.lm.gather import Example, gather_rows
from workers.lm.generation import generate_greedy
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.lm.steered import generate_steered
from workers.science.directions.fitting import Layer, fit_all
from workers.science.examples import Examples

CUT = 50  # characters of a prompt: the models' tokenizer has one token a byte, where a real one has four


def run(setup: Setup, record: Record) -> None:
    """At the 4B shape in bfloat16; the probe on the CPU, where it always runs."""
    lm = random_lm("4B", setup)
    with record.section("calibration"):
        _calibration(lm, setup, record)
    with record.section("extraction"):
        _extraction(lm, setup, record)
    with record.section("judge"):
        _judge(lm, setup, record)
    with record.section("probe"):
        _probe(setup, record)


def _ratio(record: Record, name: str, dear: Sequence[float], bare: Sequence[float], note: str) -> None:
    ratios = [one / other for one, other in zip(dear, bare, strict=True)]
    record.figure(name, statistics.median(ratios), "x", f"{spread(ratios)}; {note}")


def _calibration(lm: LanguageModel, setup: Setup, record: Record) -> None:
    count, new = setup.size((50, 48), (8, 6))
    asked = [text[:CUT] for text in shipped_prompts()[:count]]
    ids = [encode_prompt(lm, text) for text in asked]

    def whole() -> None:
        budget = 64 << 30  # so that the plan is the same batch of MOST_ROWS
        calibrate(spec(prompts=asked, max_new_tokens=new), FakeContext(lm, batch_budget_bytes=budget))

    def bare() -> None:
        generate_greedy(lm, ids, max_new_tokens=new, batch_rows=MOST_ROWS)

    took = alternating(setup, {"bare": bare, "whole": whole}, setup.size(3, 1))
    record.figure(f"generation of {count} x {new} tokens", statistics.median(took["bare"]), "s")
    record.figure("calibration, its generation included", statistics.median(took["whole"]), "s")
    _ratio(record, "calibration over the same generation", took["whole"], took["bare"], "goal 1.15")


def _extraction(lm: LanguageModel, setup: Setup, record: Record) -> None:
    count, response = setup.size((512, 32), (8, 4))
    examples = [Example(ids, ids[:1] * response) for ids in prompts(lm, count)]
    positions, layers = [parse_position("response[:5]")], list(range(lm.layout.n_layers))

    def whole() -> None:
        gather_rows(lm, examples, positions=positions, components=["residual"], layers=layers)

    def bare() -> None:
        """The same rows, 32 at a time, whole, through the decoder alone."""
        rows = sorted(([*one.prompt_ids, *one.response_ids] for one in examples), key=len, reverse=True)
        for start in range(0, count, 32):
            batch = rows[start : start + 32]
            padded = [row + [lm.pad_id] * (len(batch[0]) - len(row)) for row in batch]
            with torch.no_grad():
                lm.layout.decoder(input_ids=torch.tensor(padded, device=lm.device), use_cache=False)

    took = alternating(setup, {"bare": bare, "whole": whole}, setup.size(5, 1))
    once = statistics.median(took["whole"])
    read = sum(map(len, examples)) * lm.layout.hidden_size * len(layers) * 2
    record.figure("extraction", count / once, "examples/s", f"{count} examples, {len(layers)} layers, response[:5]")
    record.figure("activations read", read / once / 1e9, "GB/s")
    record.figure("the forward pass alone", count / statistics.median(took["bare"]), "examples/s")
    _ratio(record, "extraction over the forward pass alone", took["whole"], took["bare"], "goal under 1.15 with the probe")


def _judge(lm: LanguageModel, setup: Setup, record: Record) -> None:
    count, new = setup.size((128, 64), (6, 8))
    trait = _trait(setup.size(24, 8))
    judges: list[ReferenceJudge] = []
    fitting = seconds(setup, lambda: judges.append(ReferenceJudge.fit(lm, Material(trait, None, new), batch_rows=MOST_ROWS)))
    record.figure("fitting the reference judge, with what it elicits", fitting, "s")
    fitted = judges[0].to_json()
    questions = [f"What would you say of thing number {i}?" for i in range(count)]
    ids = [encode_prompt(lm, text) for text in questions]
    steered = [replace(row, prompt_ids=prompt) for row, prompt in zip(distinct(lm, count), ids, strict=True)]
    answers: list[list[int]] = []

    def generate() -> None:
        answers[:] = texts(generate_steered(lm, steered, max_new_tokens=new, batch_rows=MOST_ROWS))

    generate()
    items = [
        JudgeItem(question, None, lm.tokenizer.decode(answer, skip_special_tokens=True), answer, prompt)
        for question, prompt, answer in zip(questions, ids, answers, strict=True)
    ]
    scored: list[Any] = []

    def judge() -> None:
        """A judge that has read nothing yet: it remembers what it has read."""
        scored.extend(ReferenceJudge.from_json(fitted, lm, batch_rows=MOST_ROWS).score(items))

    took = alternating(setup, {"bare": generate, "judge": judge}, setup.size(3, 1))
    missing = sum(score.coherence is None for score in scored)
    record.check("answers that the judge could not score", missing, most=0, why="else it is timed on nothing")
    record.figure(
        "distinct answers", len({tuple(answer) for answer in answers}), "answers", f"of {count}; equal ones are read once"
    )
    _ratio(
        record, "reference judge over the generation it judges", took["judge"], took["bare"], f"{count} answers of {new} tokens"
    )


def _trait(count: int) -> dict[str, Any]:
    """As many prompts of each class, and questions."""
    sides = {"positive": "Praise", "negative": "Blame"}
    made: dict[str, Any] = {
        label: [{"prompt": f"{verb} thing {i}.", "cluster": f"c{i}"} for i in range(count)] for label, verb in sides.items()
    }
    return made | {"steering": {"questions": [{"question": f"What of thing {i}?", "split": "test"} for i in range(count)]}}


def _probe(setup: Setup, record: Record) -> None:
    layers, width = setup.size((34, 2560), (3, 64))
    draw = np.random.default_rng(0)
    names = [str(i) for i in range(100)]
    described = Examples.build(names, names)
    shift = (np.arange(200) < 100)[:, None] * np.float32(0.05)
    rows = [Layer(draw.standard_normal((200, width), dtype=np.float32) + shift, described) for _ in range(layers)]
    probe = [parse_method("probe")]
    took = alternating(setup, {"probe": lambda: [fit_all(one, probe, resamples=0) for one in rows]}, setup.size(3, 1))
    record.figure(f"probes, {layers} x {width} x 200", statistics.median(took["probe"]), "s", "on the CPU; goal 0.6 at 34 x 2560")
