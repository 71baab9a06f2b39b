"""How fast text is made: unsteered, steered, by transformers itself, against what the device could do; and where a step's time goes.

Roofline: a step reads every weight and the keys and values of all rows once, and multiplies every weight by every row. The larger of bytes
over the measured copy rate and operations over the measured rate of products is the least a step can take.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from tests.gpu.card import rows
from tests.gpu.card.models import random_lm
from tests.gpu.card.record import Record, Setup
from tests.gpu.card.stepping import OnStep, longest_kernels, split, step_seconds, traced, waits_by_place
from tests.gpu.card.timing import Ceilings, alternating, ceilings, spread
from workers.lm.model import LanguageModel
from workers.lm.steered import SteeredRow, generate_steered

GOAL = 0.95
LAUNCHED = "unsteered, not recorded"  # each kernel launched by itself (`workers.lm.recorded`)


def run_1_5b(setup: Setup, record: Record) -> None:
    """The shape of Qwen2.5-1.5B."""
    _run("1.5B", setup, record)


def run_4b(setup: Setup, record: Record) -> None:
    """The shape of gemma-3-4b."""
    _run("4B", setup, record)


def _run(shape: str, setup: Setup, record: Record) -> None:
    count, new = setup.size((256, 64), (8, 12))
    lm = random_lm(shape, setup)
    record.figure("parameters", lm.facts.n_parameters)
    sets = {"unsteered": rows.unsteered(lm, count), "1 steering": rows.one_steering(lm, count)}
    sets[f"{count} distinct"] = rows.distinct(lm, count)
    with record.section("speed"):
        _speed(lm, setup, record, sets, new)
    with record.section("steps"):
        _steps(lm, setup, record, sets, new)
    for name, asked, one in (
        (f"{count} distinct", sets[f"{count} distinct"], lm),
        (LAUNCHED, sets["unsteered"], replace(lm, record_steps=False)),
    ):
        with record.section(f"a step, {name}"):
            _inside_a_step(one, setup, record, name, asked, new)


def _ours(lm: LanguageModel, asked: Sequence[SteeredRow], new: int, on_step: OnStep | None = None) -> Any:
    return generate_steered(lm, asked, max_new_tokens=new, batch_rows=len(asked), on_step=on_step)


def _speed(lm: LanguageModel, setup: Setup, record: Record, sets: dict[str, list[SteeredRow]], new: int) -> None:
    prompts = [row.prompt_ids for row in sets["unsteered"]]
    sides = {name: lambda asked=asked: _ours(lm, asked, new) for name, asked in sets.items()}
    launching = replace(lm, record_steps=False)
    sides |= {LAUNCHED: lambda: _ours(launching, sets["unsteered"], new), "model.generate": lambda: _theirs(lm, prompts, new)}
    took = alternating(setup, sides, setup.size(2, 1))
    tokens = len(prompts) * new
    for name, times in took.items():
        rates = [tokens / one for one in times]
        record.figure(
            f"{name}: tokens/s", tokens / statistics.median(times), "tokens/s", f"{spread(rates, 0)} over {len(rates)} rounds"
        )
    for name in (*list(sets)[1:], LAUNCHED):
        ratios = [plain / one for plain, one in zip(took["unsteered"], took[name], strict=True)]
        note = "" if name == LAUNCHED else f"; goal {GOAL}"
        record.figure(f"{name} over unsteered", statistics.median(ratios), "x", spread(ratios) + note)


def _theirs(lm: LanguageModel, prompts: Sequence[Sequence[int]], new: int) -> Any:
    """The same rows through transformers' own generation, padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(one)) + list(one) for one in prompts], device=lm.device)
    real = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts], device=lm.device)
    made = lm.model.generate(ids, attention_mask=real, do_sample=False, max_new_tokens=new, pad_token_id=0)
    if made.shape[1] != longest + new:
        raise ValueError(f"model.generate ended after {made.shape[1] - longest} of {new} tokens: its speed cannot be compared")
    return made


def _steps(lm: LanguageModel, setup: Setup, record: Record, sets: dict[str, list[SteeredRow]], new: int) -> None:
    rates = ceilings(setup, lm.dtype)
    asked = sets["unsteered"]
    context = sum(len(row.prompt_ids) for row in asked) / len(asked) + new / 2
    least = least_step_seconds(lm, len(asked), context, rates)
    record.figure(
        "roofline: a step",
        1e3 * least,
        "ms",
        f"copy {rates.bytes_per_s / 1e9:,.0f} GB/s, products {rates.flops / 1e12:.1f} TFLOP/s",
    )
    record.figure("roofline: tokens/s", len(asked) / least, "tokens/s")
    for name, wanted in sets.items():
        median = statistics.median(step_seconds(lambda on_step, wanted=wanted: _ours(lm, wanted, new, on_step)))
        record.figure(f"{name}: a step", 1e3 * median, "ms", f"{100 * least / median:.0f} % of the roofline")


def least_step_seconds(lm: LanguageModel, batch: int, context: float, rates: Ceilings) -> float:
    """The roofline of one step of `batch` rows of `context` tokens."""
    embedding = lm.model.get_input_embeddings().weight
    tied = lm.model.get_output_embeddings().weight.data_ptr() == embedding.data_ptr()
    read = sum(p.numel() for p in lm.model.parameters()) - (0 if tied else embedding.numel())
    config, size = lm.text_config, embedding.element_size()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cached = 2 * lm.layout.n_layers * config.num_key_value_heads * head * context * batch
    attention = 4 * lm.layout.n_layers * config.num_attention_heads * head * context * batch
    return max((read + cached) * size / rates.bytes_per_s, (2 * read * batch + attention) / rates.flops)


def _inside_a_step(lm: LanguageModel, setup: Setup, record: Record, name: str, asked: Sequence[SteeredRow], new: int) -> None:
    start, steps = setup.size((new // 2, 4), (3, 4))
    events, wall = traced(setup, lambda on_step: _ours(lm, asked, new, on_step), start=start, steps=steps)
    for what, value in split(events, wall, steps).items():
        counted = what.startswith("number")
        if setup.cuda or what in ("wall", "number of torch calls"):
            record.figure(f"{name}, profiled: {what}", value, "a step" if counted else "ms a step")
        else:
            record.absent(f"{name}, profiled: {what}")
    for kernel, ms, times in longest_kernels(events, steps):
        record.figure(f"{name}, kernel {kernel[:90]}", ms, "ms a step", f"{times:.0f} times")
    places = waits_by_place(setup, lambda on_step: _ours(lm, asked, new, on_step), start=start, steps=steps)
    if not setup.cuda:
        record.absent(f"{name}: host waits for the device")
        return
    record.figure(f"{name}: host waits for the device", sum(places.values()), "a step", "as torch tells, by place below")
    for place, times in places.items():
        record.figure(f"{name}: waits at {place}", times, "a step")
