"""A calibration gives the same bytes at any batch size, on a busy machine, after running out of memory, and when stopped and resumed."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ml.calibrating import calibrate, calibrate_bytes, spec
from tests.ml.fake_context import FakeContext
from tests.ml.tiny_models import Planted
from workers.handlers.calibration import run
from workers.job import JobCancelled, JobYielded, LeaseLost
from workers.lm import answering
from workers.lm.capture import assert_no_hooks
from workers.lm.loading import load
from workers.lm.memory import planned_bytes
from workers.lm.model import LanguageModel

MANY = [f"{word} {number}, and so on." for number in range(5) for word in ("The cat", "Count", "x", "Why not this long one")]


@pytest.fixture(scope="module")
def lm(tiny_folder: Callable[..., Path]) -> LanguageModel:
    return load(tiny_folder("llama", planted=(Planted(17, 60.0, "every_token", 0.5), Planted(40, 100.0, "delimiters"))))


@pytest.fixture(scope="module")
def alone(lm: LanguageModel) -> bytes:
    """The bytes when every prompt is generated alone."""
    return calibrate_bytes(lm, FakeContext(lm, batch_budget_bytes=1), prompts=MANY)


@pytest.mark.parametrize("rows", [2, 3, 8, 64])
def test_any_batch_size_gives_the_bytes_of_batches_of_one(lm: LanguageModel, alone: bytes, rows: int) -> None:
    context = FakeContext(lm, batch_budget_bytes=planned_bytes(lm, rows, 40, 16))
    assert calibrate_bytes(lm, context, prompts=MANY) == alone


@pytest.mark.parametrize("at_call", [1, 5, 17, 60])
def test_running_out_of_memory_once_anywhere_gives_the_same_bytes(lm: LanguageModel, alone: bytes, at_call: int) -> None:
    """Call 1 is the first prefill of a batch, 5 and 17 are decode steps, 60 and later also reach into measuring."""
    context = FakeContext(lm, batch_budget_bytes=planned_bytes(lm, 8, 40, 16))
    with out_of_memory_at(lm, lambda call, _rows: call == at_call) as failures:
        assert calibrate_bytes(lm, context, prompts=MANY) == alone
    assert failures == [at_call]


def test_running_out_of_memory_at_every_batch_of_three_gives_the_same_bytes_and_is_counted(
    lm: LanguageModel, alone: bytes
) -> None:
    with out_of_memory_at(lm, lambda _call, rows: rows >= 3) as failures:
        outcome = run(spec(prompts=MANY), FakeContext(lm))
    assert outcome.artifacts[0].data == alone
    assert outcome.metrics["halvings"] == len(failures) > 0


def test_running_out_of_memory_while_measuring_gives_the_same_bytes(lm: LanguageModel, alone: bytes) -> None:
    context = FakeContext(lm)
    with out_of_memory_at(lm, lambda _call, _rows: measuring_with(context, prompts_done=7) and not failures) as failures:
        assert calibrate_bytes(lm, context, prompts=MANY) == alone
    assert len(failures) == 1


@pytest.mark.parametrize(
    ("interruption", "reports"), [(JobYielded, 1), (JobCancelled, 17), (JobYielded, 25), (LeaseLost, 40), (JobCancelled, 60)]
)
def test_a_job_stopped_anywhere_and_resumed_gives_the_same_bytes_and_repeats_no_finished_cell(
    lm: LanguageModel, alone: bytes, interruption: type[BaseException], reports: int
) -> None:
    """Eight rows at a time, generating reports about 51 times, so the last of these stops in the middle of measuring."""

    def stop(so_far: int) -> None:
        if so_far == reports:
            raise interruption

    first = FakeContext(lm, stop=stop, batch_budget_bytes=planned_bytes(lm, 8, 40, 16))
    with pytest.raises(interruption):
        run(spec(prompts=MANY), first)
    assert_no_hooks(lm.model)
    second = FakeContext(lm, cells=first.cells, batch_budget_bytes=planned_bytes(lm, 3, 40, 16))
    assert calibrate_bytes(lm, second, prompts=MANY) == alone
    finished = [name for name in first.committed + second.committed if name != "generated/begun"]  # that cell holds begun answers
    assert sorted(finished) == ["generated/000", "generated/001", "generated/002"]


def test_other_work_on_the_machine_changes_no_byte(lm: LanguageModel, alone: bytes) -> None:
    done = threading.Event()

    def multiply() -> None:
        while not done.is_set():
            torch.randn(200, 200) @ torch.randn(200, 200)

    thread = threading.Thread(target=multiply)
    thread.start()
    try:
        assert calibrate_bytes(lm, prompts=MANY) == alone
    finally:
        done.set()
        thread.join()


def test_the_file_names_no_path_or_time_of_its_run(lm: LanguageModel, tiny_folder: Callable[..., Path]) -> None:
    text = calibrate_bytes(lm, prompts=MANY).decode()
    assert str(lm.facts.files[0].mtime_ns) not in text
    assert str(tiny_folder("llama").parent) not in text
    assert "NaN" not in text


def test_progress_is_reported_in_steps_never_falls_and_ends_at_the_total(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "ASK_SECONDS", math.inf)  # a slow machine would have more yield points within a batch
    context = FakeContext(lm, batch_budget_bytes=planned_bytes(lm, 8, 40, 16))
    run(spec(prompts=MANY), context)
    again = context.phases[-1][1]
    assert again <= 5
    assert context.phases == [
        ("generating", 20 * 16, "tokens"),
        ("measuring", 20, "prompts"),
        ("measuring again", again, "prompts"),
    ]
    for phase, total, _unit in context.phases:
        done = [value for name, value in context.reports if name == phase]
        assert done == sorted(done)
        assert done[-1] == total
        assert len(done) >= min(20, total)
    assert context.yield_points == 3 + 20 + again


def test_cells_that_fit_are_generated_together_and_finished_cells_are_not_generated_again(
    lm: LanguageModel, alone: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells are small so that a kill costs little; a batch takes as many of them as memory allows, so that the device is not idle."""
    monkeypatch.setattr(answering, "ASK_SECONDS", math.inf)
    first = FakeContext(lm)
    assert calibrate_bytes(lm, first, prompts=MANY) == alone
    assert first.yield_points == 1 + 20 + first.phases[-1][1]
    del first.cells["generated/001"]
    again = FakeContext(lm, cells=first.cells)
    outcome = run(spec(prompts=MANY), again)
    assert outcome.artifacts[0].data == alone
    assert again.committed == ["generated/001"]
    assert outcome.metrics["tokens_computed"] <= 8 * 16


def measuring_with(context: FakeContext, *, prompts_done: int) -> bool:
    return context.reports[-1:] == [("measuring", prompts_done)]


@contextmanager
def out_of_memory_at(lm: LanguageModel, when: Callable[[int, int], bool]) -> Iterator[list[int]]:
    """The decoder's forward raises torch's own error where `when(call, batch rows)` is true; yields the numbers of those calls."""
    failures: list[int] = []
    calls = 0
    decoder: Any = lm.layout.decoder
    forward = decoder.forward

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if when(calls, kwargs["input_ids"].shape[0]):
            failures.append(calls)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return forward(*args, **kwargs)

    decoder.forward = failing
    try:
        yield failures
    finally:
        del decoder.forward


def test_a_system_prompt_stands_before_the_text_of_a_model_without_a_template(tiny_lm: Callable[..., LanguageModel]) -> None:
    """Without a chat template the system prompt stands before the text: the file is that of the joined text, except for the prompts' hash."""
    lm = tiny_lm("llama")
    objects = [{"prompt": "go on now", "system_prompt": "Be brief."}, "Why is it so?"]
    texts = ["Be brief.\n\ngo on now", "Why is it so?"]
    found, written = calibrate(lm, prompts=objects), calibrate(lm, prompts=texts)
    assert found["provenance"].pop("prompts_hash") != written["provenance"].pop("prompts_hash")
    assert found == written
