"""Recorded and replayed steps give the answers of plain passes. Here on a CPU with tests/ml/lm/replaying.py in place of CUDA graphs; the GPU
card (tests/gpu/card) runs them on CUDA."""

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from typing import Any
from weakref import WeakSet

import pytest
import torch

from tests.ml.lm.replaying import ReplayingRecorder
from tests.ml.lm.test_steered import memory_for
from tests.ml.steered_rows import naive, some_rows, texts
from tests.ml.tiny_models import ARCHITECTURES
from workers.lm import recorded, refilling
from workers.lm.interventions import Push
from workers.lm.model import LanguageModel
from workers.lm.refilling import GenerationCounts
from workers.lm.steered import SteeredRow, generate_steered

NEW = 20


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> ReplayingRecorder:
    """Makes steps be recorded as on a CUDA device, with widths rounded up to 16 columns, so that short rows need several shapes."""
    made = ReplayingRecorder()
    monkeypatch.setattr(refilling, "recorder_for", lambda lm: None if lm.model in recorded._never else made)
    monkeypatch.setattr(recorded, "COLUMNS", 16)
    return made


@pytest.fixture
def endless(tiny_lm: Callable[..., LanguageModel]) -> Callable[[str], LanguageModel]:
    return lambda arch: replace(tiny_lm(arch), eos_ids=frozenset())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_replayed_rows_equal_the_rows_alone(
    arch: str, endless: Callable[[str], LanguageModel], recorder: ReplayingRecorder
) -> None:
    """All operations, components and scopes. Rows end at different steps and others take their slots, so the pushes change between replays."""
    lm = endless(arch)
    rows = some_rows(lm, 3, 11, longest=24)
    whole = [naive(lm, row, NEW) for row in rows]
    assert texts(generate_steered(lm, rows, max_new_tokens=NEW, batch_rows=11)) == whole
    assert 0 < recorder.recorded <= 4
    assert recorder.replays > NEW / 2
    ending = replace(lm, eos_ids=frozenset(answer[2 * row] for row, answer in enumerate(whole[:7])))
    alone = [list(takewhile(lambda token: token not in ending.eos_ids, answer)) for answer in whole]
    before = recorder.replays
    assert texts(generate_steered(ending, rows, max_new_tokens=NEW, batch_rows=4)) == alone
    assert recorder.replays > before


def test_the_effect_of_pushes_is_measured_as_without_recording(
    endless: Callable[[str], LanguageModel], recorder: ReplayingRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks do not run in a replay, so their measurements are recorded with the step."""
    lm = endless("gemma3")
    rows = some_rows(lm, 5, 9)
    replayed = generate_steered(lm, rows, max_new_tokens=NEW, batch_rows=4)
    assert recorder.replays > 0
    monkeypatch.setattr(refilling, "recorder_for", lambda _lm: None)
    plain = generate_steered(lm, rows, max_new_tokens=NEW, batch_rows=4)
    for one, other in zip(replayed, plain, strict=True):
        assert one.ids == other.ids
        counted, wanted = dict(one.effect), dict(other.effect)
        assert counted.pop("mean_change") == pytest.approx(wanted.pop("mean_change"), rel=1e-5)  # float32 sums in other shapes
        assert counted == wanted


def test_steps_with_other_pushes_are_recorded_anew(endless: Callable[[str], LanguageModel], recorder: ReplayingRecorder) -> None:
    """In batches of one row, each with other operations than the step recorded before."""
    lm = endless("llama")
    width = lm.layout.hidden_size
    unit = torch.nn.functional.normalize(torch.arange(1.0, width + 1), dim=0)
    programs: list[tuple[Push, ...]] = [
        (),
        (Push(1, "residual", unit, 4.0),),
        (Push(2, "mlp_out", unit, 0.7, "norm_match"),),
        (Push(1, "residual", unit, 1.0, "ablate"), Push(1, "residual", unit, 4.0)),
        (),
    ]
    rows = [SteeredRow([1, 20, 21 + index], pushes) for index, pushes in enumerate(programs)]
    assert texts(generate_steered(lm, rows, max_new_tokens=NEW, batch_rows=1)) == [naive(lm, row, NEW) for row in rows]
    assert recorder.recorded >= 4


def test_a_model_that_waits_for_the_device_is_never_recorded(
    endless: Callable[[str], LanguageModel],
    recorder: ReplayingRecorder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lm = endless("mistral")
    rows = some_rows(lm, 7, 6)
    alone = [naive(lm, row, 6) for row in rows]
    forward = lm.layout.decoder.forward

    def waiting(*args: Any, **kwargs: Any) -> Any:
        made = forward(*args, **kwargs)
        made[0].abs().max().item()  # waits for the device
        return made

    monkeypatch.setattr(lm.layout.decoder, "forward", waiting)
    monkeypatch.setattr(recorded, "_never", WeakSet())
    with caplog.at_level(logging.WARNING):
        assert texts(generate_steered(lm, rows, max_new_tokens=6, batch_rows=6)) == alone
        assert texts(generate_steered(lm, rows, max_new_tokens=6, batch_rows=2)) == alone
    assert recorder.recorded == 0
    assert caplog.text.count("are not recorded") == 1


def test_a_batch_continues_without_recording_where_a_recorded_step_does_not_fit(
    endless: Callable[[str], LanguageModel], recorder: ReplayingRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording needs memory besides that of the passes, and its failure does not halve the batch."""
    lm = endless("qwen3")
    rows = some_rows(lm, 9, 8)
    record = recorder.record

    def scarce(work: Callable[[], Any]) -> Any:
        with memory_for(lm, 2):
            return record(work)

    monkeypatch.setattr(recorder, "record", scarce)
    counts = GenerationCounts()
    answers = texts(generate_steered(lm, rows, max_new_tokens=8, batch_rows=8, counts=counts))
    assert answers == [naive(lm, row, 8) for row in rows]
    assert (counts.halvings, counts.smallest_batch) == (0, 8)
    assert recorder.recorded == 0
    assert lm.model not in recorded._never
