"""The memory of a generation is predicted: a row that cannot fit is refused before it is computed, with the arithmetic in the message; a row
that just fits is not refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from terms.room import Engine, Room, room_in
from tests.families.models import tiny_family
from tests.gpu.card.models import random_lm
from tests.gpu.card.record import Setup
from workers.lm.errors import OutOfMemory
from workers.lm.memory import batch_rows_for, bytes_needed, check_room
from workers.lm.room import counted, room_of


@pytest.mark.parametrize("family", ["llama", "mixtral", "qwen3_5_text"])
def test_weights_and_one_row_are_compared_with_the_device(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row needs keys and values, in a mixture also buffers of experts, in a hybrid also recurrent states."""
    lm = tiny_family(family)
    row = bytes_needed(lm, 1, 100, 20)
    assert row is not None
    weights = lm.resident_bytes
    check_room(lm, 100, 20, weights + row)
    arithmetic = r"100 \+ 20 tokens does not fit: [\d,]+ MiB of weights \+ [\d,]+ MiB of .* = [\d,]+ MiB; the device has"
    with pytest.raises(OutOfMemory, match=arithmetic):
        check_room(lm, 100, 20, weights + row - 1)
    monkeypatch.setattr("workers.lm.memory.device_bytes", lambda _device: weights + row - 1)
    with pytest.raises(OutOfMemory, match=arithmetic):
        batch_rows_for(lm, 100, 20, 1 << 40)


def test_the_needed_memory_grows_with_rows_and_tokens() -> None:
    lm = tiny_family("llama")
    needed = [bytes_needed(lm, rows, tokens, 4) or 0 for rows, tokens in ((1, 64), (2, 64), (4, 64), (4, 128))]
    assert needed == sorted(set(needed))
    cache = 2 * lm.layout.n_layers * lm.text_config.num_key_value_heads * lm.text_config.head_dim * 4 * (64 + 3)
    assert needed[0] >= cache
    # the bytes were counted on meta tensors, which must leave the model and torch as they were
    assert not any(parameter.is_meta for parameter in lm.model.parameters())
    assert torch.get_default_device().type == "cpu"


@pytest.mark.parametrize("engine", ["slots", "library", "whole"])
def test_longer_prompts_never_need_less(engine: Engine) -> None:
    """Where two of the longest prompts do not fit one pass, two of the shorter ones may, or a hundred short ones, each with its state."""
    room = Room(engine, row=1000, column=10, pass_row=50, token=30, pair=1, mask=2, step=500, step_column=3)
    needed = [room.needed(128, length, 5, 2048) for length in (17, 18, 40, 513, 600, 1025, 1026, 1101, 2049, 2050, 4000)]
    assert needed == sorted(needed)
    by_rows = [room.needed(rows, 1101, 5, 2048) for rows in range(1, 130)]
    assert by_rows == sorted(by_rows)


@pytest.mark.parametrize("family", ["llama", "qwen3_5_text"])
def test_a_long_prompt_does_not_admit_more_rows_of_short_ones(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's rows are planned once, from its longest prompt."""
    monkeypatch.setattr("workers.lm.pass_sizes.MOST_CPU_TOKENS", 256)
    monkeypatch.setattr("workers.lm.pass_sizes.MOST_TOKENS", 256)
    lm = tiny_family(family)
    budget = bytes_needed(lm, 8, 25, 4)
    assert budget is not None
    assert batch_rows_for(lm, 250, 4, budget) <= batch_rows_for(lm, 25, 4, budget) < 8


@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt_oss", "qwen3_5_text"])
def test_sizes_that_were_not_counted_are_predicted(family: str) -> None:
    """Rows and lengths other than those from which the numbers come, compared with a count tensor by tensor."""
    lm = tiny_family(family)
    structure = lm.layout.structure
    room = room_of(lm.model, structure.engine, lm.dtype, lm.context_length)
    assert room is not None
    for rows, tokens in ((1, 100), (3, 40), (2, 200)):
        [exact] = counted(lm.model, structure.engine, lm.dtype, lm.context_length, [(rows, tokens)])
        predicted = room.needed(rows, tokens + 1, 0, rows * tokens)
        assert 0.9 < predicted / (exact.kept + max(exact.ahead, exact.step)) < 1.6


def test_the_numbers_stored_by_an_inspection_are_used() -> None:
    lm = tiny_family("llama")
    counted_now = bytes_needed(lm, 3, 50, 10)
    numbers = room_of(lm.model, "slots", lm.dtype, lm.context_length)
    assert numbers is not None
    stored: dict[str, Any] = {**numbers.to_dict(), "of a newer version": 1}
    facts = replace(lm.facts, room={"float32": stored})
    assert bytes_needed(replace(lm, facts=facts), 3, 50, 10) == counted_now
    facts = replace(lm.facts, room={"float32": stored | {"column": 100 * numbers.column}})  # needs 100 times as much a token
    assert batch_rows_for(replace(lm, facts=facts), 100, 20, 10 << 20) < batch_rows_for(lm, 100, 20, 10 << 20)


def test_numbers_of_an_engine_that_this_version_does_not_know_are_unknown() -> None:
    assert room_in({"float32": {"engine": "slots", "row": 7}}, "float32") == Room("slots", row=7)
    assert room_in({"float32": {"engine": "of a newer version", "row": 7}}, "float32") is None
    assert room_in({"float32": {"engine": "slots"}}, "bfloat16") is None


def test_a_model_of_the_same_shape_in_another_folder_is_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_family("llama")
    numbers = room_of(lm.model, "slots", lm.dtype, lm.context_length)
    assert numbers is not None
    monkeypatch.setattr(lm.model.config, "_name_or_path", "/another/folder")
    monkeypatch.delattr("workers.lm.room.counted")
    assert room_of(lm.model, "slots", lm.dtype, lm.context_length) == numbers


CARD = ((256, 20, 128, 22.15), (64, 512, 8, 78.96), (32, 2048, 8, 293.6))
"""Rows, prompt tokens, new tokens; MiB a row at the peak on an H100 (part `room` of the card, November 2026)."""


@pytest.mark.long
def test_the_memory_measured_on_a_gpu_at_the_4b_shape_is_predicted() -> None:
    """At least the measured bytes and at most 1.3 times as many; the longest row that ran fits, and one of twice its length does not."""
    lm = random_lm("4B", Setup("meta", tiny=False))
    for rows, prompt, new, measured in CARD:
        assert 1 <= (bytes_needed(lm, rows, prompt, new) or 0) / rows / 2**20 / measured <= 1.3
    device = 79 << 30
    weights = lm.resident_bytes
    assert weights + (bytes_needed(lm, 1, 65_536, 4) or 0) < device < weights + (bytes_needed(lm, 1, 131_068, 4) or 0)


@pytest.mark.parametrize("error", [AssertionError, KeyError, NotImplementedError])
def test_a_model_that_cannot_run_on_meta_tensors_is_not_predicted(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever error its code raises, because an inspection must not fail with the prediction. One row at a time is then generated."""
    lm = tiny_family("llama")

    def fail(*_args: object, **_kwargs: object) -> None:
        raise error("this code looks at values")

    monkeypatch.setattr(type(lm.model), "forward", fail)
    monkeypatch.setattr("workers.lm.room._known", {})
    assert room_of(lm.model, "slots", torch.float16, lm.context_length) is None
    assert batch_rows_for(replace(lm, dtype=torch.float16), 10, 10, 1 << 40) == 1
