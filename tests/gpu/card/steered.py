"""A row steered in a batch on the device equals the row alone in float32, for six families; and the figures on which this rests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from tests.gpu.card.models import random_lm
from tests.gpu.card.record import Record, Setup
from tests.gpu.card.rows import distinct
from tests.ml.steered_rows import naive, some_rows, texts
from tests.ml.tiny_models import tiny_model_folder
from workers.lm import choosing, refilling
from workers.lm.capture import assert_no_hooks, reading
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.refilling import GenerationCounts
from workers.lm.steered import SteeredRow, generate_steered

FAMILIES = ("llama", "mistral", "qwen3", "gemma3", "gpt2", "gpt_neox")


def run(setup: Setup, record: Record) -> None:
    """Float32, then hooks after exceptions, then what bfloat16 does without a promise."""
    with TemporaryDirectory() as base:
        for family in FAMILIES:
            with record.section(family):
                lm = load(tiny_model_folder(Path(base), family), device=setup.device)
                _rows_alone(lm, setup, record, family)
        with record.section("hooks after an exception"):
            _after_an_exception(load(tiny_model_folder(Path(base), "gemma3"), device=setup.device), record)
    with record.section("bfloat16"):
        _agreement(setup, record)


def _rows_alone(lm: LanguageModel, setup: Setup, record: Record, family: str) -> None:
    """All operations, components and scopes mixed, some rows sampled, rows that end at different steps, more rows than slots."""
    count, new = setup.size((14, 12), (5, 4))
    endless = replace(lm, eos_ids=frozenset())
    rows = some_rows(endless, 1, count, longest=24)
    whole = [naive(endless, row, new) for row in rows]
    unsteered = [naive(endless, replace(row, pushes=()), new) for row in rows]
    changed = sum(one != other for one, other in zip(whole, unsteered, strict=True))
    ending = replace(lm, eos_ids=frozenset(answer[row + 1] for row, answer in enumerate(whole[: new - 2])))
    alone = [_until(answer, ending.eos_ids) for answer in whole]
    worst: list[float] = []
    with mock.patch.object(refilling, "choose", _measured(worst)):
        together = texts(generate_steered(endless, rows, max_new_tokens=new, batch_rows=count))
    refilled = texts(generate_steered(ending, rows, max_new_tokens=new, batch_rows=max(2, count // 3)))
    assert_no_hooks(lm.model)
    why = "in float32 a row's ids are the row's alone, whatever its batch"
    launching = replace(endless, record_steps=False), replace(ending, record_steps=False)
    launched = texts(generate_steered(launching[0], rows, max_new_tokens=new, batch_rows=count))
    launched_refilled = texts(generate_steered(launching[1], rows, max_new_tokens=new, batch_rows=max(2, count // 3)))
    compared = [("in one batch", together, whole), ("refilled", refilled, alone)]
    compared += [("not recorded", launched, whole), ("not recorded, refilled", launched_refilled, alone)]
    for name, found, wanted in compared:
        differ = sum(one != other for one, other in zip(found, wanted, strict=True))
        record.check(f"{family}: of {count} rows {name}, those that differ from the row alone", differ, most=0, why=why)
    steered = sum(bool(row.pushes) for row in rows)
    why = "else the pushes do nothing and the equality proves nothing"
    record.check(f"{family}: texts that {steered} steered rows change", changed, least=steered / 2, why=why)
    why = "a tenth of NEAR_TIE: what settles a choice must be far above the difference of two ways of computing it"
    record.check(f"{family}: two ways of computing logits, by the largest", max(worst), most=choosing.NEAR_TIE / 10, why=why)


def _until(answer: list[int], eos_ids: frozenset[int]) -> list[int]:
    ends = [place for place, token in enumerate(answer) if token in eos_ids]
    return answer[: ends[0]] if ends else answer


def _measured(worst: list[float]) -> Callable[..., Any]:
    """`choose`, noting how far the batch's logits are from the row's alone."""
    choose = choosing.choose

    def measuring(logits_BV: Tensor, alone: Callable[[int], Tensor], *, settle: Any, draws: Any) -> Any:
        for row in settle:
            reference = alone(row).float()
            worst.append(float((logits_BV[row].float() - reference).abs().max() / reference.abs().max()))
        return choose(logits_BV, alone, settle=settle, draws=draws)

    return measuring


def _after_an_exception(lm: LanguageModel, record: Record) -> None:
    """What was steered or read when something failed must not steer or read what comes next."""
    lm = replace(lm, eos_ids=frozenset())
    row = next(row for row in some_rows(lm, 3, 12, sampled=False) if row.pushes)
    plain = SteeredRow(row.prompt_ids)
    before = texts(generate_steered(lm, [plain], max_new_tokens=6, batch_rows=1))

    def fail(*_: object) -> None:
        raise KeyError("planned")

    left = 0
    for attempt in (
        lambda: generate_steered(lm, [row, plain], max_new_tokens=6, batch_rows=2, on_step=fail),
        lambda: _read_and(lm, fail),
    ):
        try:
            attempt()
        except KeyError:
            left += sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.model.modules())
        else:
            raise AssertionError("the planned exception did not come through")
    record.check("hooks left after exceptions in generation and in reading", left, most=0, why="later jobs use the same model")
    after = texts(generate_steered(lm, [plain], max_new_tokens=6, batch_rows=1))
    record.check("texts that differ after the exceptions", int(before != after), most=0, why="the model is as it was")


def _read_and(lm: LanguageModel, reader: Callable[..., None]) -> None:
    with reading(lm, {"residual": reader}):
        generate_steered(lm, [SteeredRow([1, 20, 30])], max_new_tokens=2, batch_rows=1)


def _agreement(setup: Setup, record: Record) -> None:
    """How often a row's text is that of the row alone in bfloat16, the type a GPU's worker loads models in by default."""
    count, new = setup.size((64, 24), (4, 4))
    lm = random_lm("1.5B", Setup(setup.device, tiny=True), torch.bfloat16)
    rows = distinct(lm, count)
    counts = GenerationCounts()
    together = texts(generate_steered(lm, rows, max_new_tokens=new, batch_rows=count, counts=counts))
    alone = [texts(generate_steered(lm, [row], max_new_tokens=new, batch_rows=1))[0] for row in rows]
    same = sum(one == other for one, other in zip(together, alone, strict=True))
    note = "nothing is promised of 16 bits; 6 layers, d=64, a vocabulary of 1000"
    record.figure("bfloat16: rows whose text equals the row alone", f"{same} of {count}", "rows", note)
