"""The cost of measuring: few prompts are read twice, every pass reports progress and can be stopped, and a job that yields resumes where it
was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.ml.calibrating import PROMPTS, calibrate_bytes
from tests.ml.fake_context import FakeContext
from tests.ml.tiny_models import Planted
from workers.job import JobCancelled, JobYielded
from workers.lm.capture import assert_no_hooks
from workers.lm.model import LanguageModel
from workers.science.watching import FIRST_PROMPTS

TINY = Callable[..., LanguageModel]
MANY = tuple(f"{text} {number}" for number in range(4) for text in PROMPTS)
DIMS = (Planted(17, 900.0, "every_token", 0.3), Planted(40, 60.0, "delimiters"), Planted(3, 300.0, "first_token"))
RULES = ("peeling", "peel:0.3", "ratio10-3layers", "ratio:2", "top5-3layers", "all", "sun")
CASES = [(arch, "peeling", ()) for arch in ("llama", "gemma3", "gpt2", "qwen3")] + [("llama", rule, DIMS) for rule in RULES]


@contextmanager
def passes(lm: LanguageModel) -> Iterator[list[int]]:
    """Counts forward passes of the whole model."""
    count = [0]
    site = lm.layout.site(0, "residual")
    handle = site.register_forward_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    try:
        yield count
    finally:
        handle.remove()


@pytest.mark.parametrize(("arch", "rule", "planted"), CASES)
def test_at_most_four_prompts_and_five_percent_are_read_twice(
    tiny_lm: TINY, arch: str, rule: str, planted: tuple[Planted, ...]
) -> None:
    lm = tiny_lm(arch, planted=planted)
    first = FakeContext(lm)
    expected = calibrate_bytes(lm, first, prompts=list(MANY), rule=rule, max_new_tokens=8)
    generated = {name: data for name, data in first.cells.items() if name.startswith("generated/")}
    with passes(lm) as count:
        again = calibrate_bytes(lm, FakeContext(lm, cells=generated), prompts=list(MANY), rule=rule, max_new_tokens=8)
    assert again == expected
    assert len(MANY) < count[0] <= len(MANY) + FIRST_PROMPTS + len(MANY) // 20


def test_both_passes_count_in_the_progress_and_can_be_stopped_at_any_prompt(tiny_lm: TINY) -> None:
    lm = tiny_lm("llama", planted=DIMS)
    whole = FakeContext(lm)
    calibrate_bytes(lm, whole)
    counted = [report for report in whole.reports if report[0].startswith("measuring")]
    again = next(total for name, total, _ in whole.phases if name == "measuring again")
    assert counted == [("measuring", n + 1) for n in range(len(PROMPTS))] + [("measuring again", n + 1) for n in range(again)]
    for stop_at in range(len(whole.reports) - len(counted) + 1, len(whole.reports) + 1):

        def stop(reports: int, at: int = stop_at) -> None:
            if reports == at:
                raise JobCancelled

        with pytest.raises(JobCancelled):
            calibrate_bytes(lm, FakeContext(lm, stop=stop))
        assert_no_hooks(lm.model)


class Yielding(FakeContext):
    """Yields at its first yield point."""

    def may_yield(self) -> None:
        super().may_yield()
        raise JobYielded("yielded")


class Draining(FakeContext):
    """As the service's context when its node is told to stop: each report of progress while measuring ends the job."""

    def progress(self, done: int) -> None:
        super().progress(done)
        if self.phases[-1][0].startswith("measuring"):
            raise JobYielded("drained")


@pytest.mark.parametrize("stopped", [Yielding, Draining])
@pytest.mark.parametrize("rule", ["peeling", "all"])
def test_a_job_that_stops_at_every_prompt_measures_each_once_and_leaves_the_same_bytes(
    tiny_lm: TINY, rule: str, stopped: type[FakeContext]
) -> None:
    lm = tiny_lm("gemma3", planted=DIMS)
    whole = FakeContext(lm)
    expected = calibrate_bytes(lm, whole, rule=rule)
    cells = {name: data for name, data in whole.cells.items() if name.startswith("generated/")}
    attempts, reports = 0, []
    while True:
        context = stopped(lm, cells=cells)
        attempts += 1
        assert attempts <= 3 * len(PROMPTS), "it never gets further"
        try:
            found = calibrate_bytes(lm, context, rule=rule)
        except JobYielded:
            reports += [report for report in context.reports if report[0] == "measuring"]
            continue
        break
    assert found == expected
    assert reports == [("measuring", n + 1) for n in range(len(PROMPTS))]
    assert attempts > len(PROMPTS)


def test_measuring_is_timed_before_many_prompts_are_generated_and_not_again_when_the_job_resumes(tiny_lm: TINY) -> None:
    lm = tiny_lm("llama")
    context = FakeContext(lm)
    calibrate_bytes(lm, context, prompts=list(MANY), max_new_tokens=8)
    after = context.after["generating"]  # the expected seconds of the phases that follow
    assert after is not None
    assert after > 0
    again = FakeContext(lm, cells=context.cells)
    calibrate_bytes(lm, again, prompts=list(MANY), max_new_tokens=8)
    assert again.after["generating"] is None
    few = FakeContext(lm)
    calibrate_bytes(lm, few)
    assert few.after["generating"] is None


def test_a_timed_row_that_does_not_fit_does_not_end_the_job(tiny_lm: TINY) -> None:
    """The timed row is as long as the longest possible answer, which no row of the job may reach."""
    lm = tiny_lm("llama")
    expected = calibrate_bytes(lm, FakeContext(lm), prompts=list(MANY), max_new_tokens=8)
    refused: list[list[int]] = []

    def full(_module: object, _args: object, given: dict[str, Any]) -> None:
        ids = given["input_ids"][0].tolist()
        if len(set(ids[-9:])) == 1 and len(ids) >= 9:  # the timed row repeats its last token
            refused.append(ids)
            raise RuntimeError("DefaultCPUAllocator: not enough memory")

    context = FakeContext(lm)
    handle = lm.layout.decoder.register_forward_pre_hook(full, with_kwargs=True)
    try:
        assert calibrate_bytes(lm, context, prompts=list(MANY), max_new_tokens=8) == expected
    finally:
        handle.remove()
    assert refused
    assert context.after["generating"] is None
