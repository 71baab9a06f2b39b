"""Captured rows and likelihoods on the device against the same model in float64 on the CPU."""

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from terms.positions import parse_position
from tests.gpu.card.record import Record, Setup
from tests.gpu.card.steered import FAMILIES
from tests.ml.tiny_models import BOS, SPECIAL, tiny_model_folder
from workers.lm.architecture import find_layout
from workers.lm.capture import prefill, reading
from workers.lm.gather import Example, gather_rows
from workers.lm.likelihood import MARGIN, log_likelihood_alone, mean_log_likelihoods
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.prefixes import PASS_COST

POSITIONS = [parse_position(text) for text in ("response[:5]", "prompt[-1]", "all[:]")]
TOLERANCE = 2e-5


def run(setup: Setup, record: Record) -> None:
    """Every family, component and layer."""
    with TemporaryDirectory() as base:
        for family in FAMILIES:
            with record.section(family):
                # as on a CPU: on a GPU, rows of a few tokens would share nothing
                lm = replace(load(tiny_model_folder(Path(base), family), device=setup.device), pass_cost=PASS_COST)
                examples = _examples(lm, setup.size(24, 6))
                reference = in_float64(lm)
                _captured(lm, reference, examples, record, family)
                _likelihoods(lm, reference, examples, record, family)


def in_float64(lm: LanguageModel) -> LanguageModel:
    """A copy of the model on the CPU. Norms and rotary angles stay in float32, as the library computes them whatever the type."""
    model = copy.deepcopy(lm.model).cpu().double()
    return replace(lm, model=model, layout=find_layout(model), device=torch.device("cpu"), dtype=torch.float64)


def _examples(lm: LanguageModel, count: int) -> list[Example]:
    draw = random.Random(0)

    def ids(most: int) -> list[int]:
        return [draw.randrange(len(SPECIAL), lm.vocab_size) for _ in range(draw.randint(1, most))]

    return [Example([BOS, *ids(20)], ids(14)) for _ in range(count)]


def _captured(lm: LanguageModel, reference: LanguageModel, examples: Sequence[Example], record: Record, family: str) -> None:
    components, layers = lm.layout.components, list(range(lm.layout.n_layers))
    rows = gather_rows(lm, examples, positions=POSITIONS, components=components, layers=layers, pass_tokens=150)
    worst = (0.0, "")
    for index, example in enumerate(examples):
        seen: dict[tuple[str, int], Tensor] = {}
        readers = {name: lambda layer, component, h, seen=seen: seen.update({(component, layer): h[0]}) for name in components}
        with reading(reference, readers):
            prefill(reference, [*example.prompt_ids, *example.response_ids])
        for (position, component, layer), values in rows.values.items():
            window = example.window(parse_position(position))
            wanted = seen[component, layer][window.start : window.stop].mean(0)
            found = values[rows.kept[position].index(index)].double()
            worst = max(worst, (float((found - wanted).norm() / wanted.norm()), f"{component} of layer {layer}, {position}"))
    why = "of the row's norm: float32 adds in another order, 5e-6 at most on a CPU"
    record.check(f"{family}: captured rows against float64 ({worst[1]})", worst[0], most=TOLERANCE, why=why)


def _likelihoods(lm: LanguageModel, reference: LanguageModel, examples: Sequence[Example], record: Record, family: str) -> None:
    prompts, answers = [one.prompt_ids for one in examples], [one.response_ids for one in examples]
    batched = mean_log_likelihoods(lm, prompts, answers, batch_rows=5)
    alone = [log_likelihood_alone(lm, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    shared = mean_log_likelihoods(lm, [prompts[0]] * len(answers), answers, batch_rows=5)
    shared_alone = [log_likelihood_alone(lm, prompts[0], answer) for answer in answers]
    gap = max(abs(one - other) for one, other in zip([*batched, *shared], [*alone, *shared_alone], strict=True))
    why = "a third of MARGIN, which decides what is computed again alone (workers/lm/likelihood.py)"
    record.check(f"{family}: likelihoods in batches against alone, nats", gap, most=MARGIN / 3, why=why)
    exact = [log_likelihood_alone(reference, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    gap = max(abs(one - other) for one, other in zip(alone, exact, strict=True))
    record.check(f"{family}: likelihoods against float64, nats", gap, most=1e-4, why="float32's sums; a hundredth of PRECISION")
