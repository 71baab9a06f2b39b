"""The evaluator of steering runs: overflowing and empty answers end no job, progress counts answers, and batches, pieces and resumes change
no byte."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import torch

from terms.interventions import Operation
from tests.ml.fake_context import FakeContext
from tests.ml.lm.test_lm_generation import some_prompts
from tests.ml.steered_rows import typical_norm
from tests.ml.tiny_models import HIDDEN
from workers.job import JobYielded
from workers.judges.base import JudgeItem, Score, done
from workers.lm.errors import ModelFault
from workers.lm.interventions import Push
from workers.lm.model import LanguageModel
from workers.lm.steered import SteeredRow, generate_steered
from workers.steering.effects import Scoring, effect_of
from workers.steering.evaluator import Evaluator
from workers.steering.lines import response_lines
from workers.steering.questions import Question
from workers.steering.rescoring import scored_run
from workers.steering.runs import Run, RunSpec
from workers.steering.subjects import Subject, part

OPERATIONS: tuple[Operation, ...] = ("add", "ablate", "norm_match")


class Generous:
    """A judge that scores everything 100."""

    identity: Mapping[str, Any] = {"name": "generous", "version": "1", "prompt_hash": ""}
    uses_device = False
    tally: Mapping[str, int] = {}

    def score(self, items: Sequence[JudgeItem]) -> list[Score]:
        return [Score(100.0, 100.0) for _ in items]

    def submit(self, items: Sequence[JudgeItem]) -> Future[list[Score]]:
        return done(self.score(items))

    def close(self) -> None:
        pass


def yielding() -> None:
    """As the context when another job waits for the device."""
    raise JobYielded


class OnDevice(Generous):
    """The same on the device that generates, as the reference judge is."""

    uses_device = True


@pytest.mark.parametrize("scope", ["all", "response"])
def test_answers_that_overflow_are_incoherent_under_any_judge(tiny_lm: Callable[..., LanguageModel], scope: Any) -> None:
    lm = tiny_lm("llama", dtype="float16")
    vector = torch.randn(HIDDEN, generator=torch.Generator().manual_seed(0))
    vector /= vector.norm()
    subject = Subject(
        "v", "v", "probe", None, "residual", (1,), (part(vector, 1, "residual", (), typical_norm(lm, 1, "residual")),)
    )
    questions = [
        Question(i, "test", f"{i} ?", None, f"c{i}", tuple(prompt)) for i, prompt in enumerate(some_prompts(5, 3, longest=12))
    ]
    judge = Generous()
    evaluator = Evaluator(lm, FakeContext(lm), judge, max_new_tokens=4, batch_rows=8)
    evaluator.begin("steering", 2)
    pushes = {
        r: tuple(Push(1, "residual", vector, c, "add", scope) for c in (subject.parts[0].coefficient(r),)) for r in (0.5, 1e6)
    }
    base, calm, broken = evaluator.evaluate(
        [RunSpec(questions, "unsteered"), *(RunSpec(questions, "v", pushes[r], subject, r) for r in (0.5, 1e6))]
    )
    assert [one.coherence for one in calm.answers] == [100.0] * 3
    assert [one.finite for one in broken.answers] == [False] * 3
    assert [one.coherence for one in broken.answers] == [0.0] * 3
    assert broken.effect["not_finite"] == 3
    assert broken.effect["fires"] > 0
    told = effect_of(broken, base, Scoring(70, 1, 0))
    assert told["finite"] == 0
    json.dumps(told, allow_nan=False)
    lines = [json.loads(line) for line in response_lines([broken]).splitlines()]
    again = scored_run("broken", lines, judge.score([JudgeItem(one["question"], None, one["text"]) for one in lines]))
    assert [one.coherence for one in again.answers] == [0.0] * 3
    assert Run.from_bytes(broken.spec, broken.to_bytes()).answers == broken.answers


def test_an_answer_that_ends_at_its_first_token_does_not_end_a_steering_of_the_response(
    tiny_lm: Callable[..., LanguageModel],
) -> None:
    """A push of scope `response` changes nothing in an empty answer. If every answer is empty, nothing was steered, which is a fault."""
    lm = tiny_lm("llama")
    prompts = some_prompts(5, 3, longest=12)
    questions = [Question(i, "test", f"{i} ?", None, f"c{i}", tuple(prompt)) for i, prompt in enumerate(prompts)]
    first = [
        one.ids[0] for one in generate_steered(lm, [SteeredRow(prompt, ()) for prompt in prompts], max_new_tokens=1, batch_rows=8)
    ]
    silent = replace(lm, eos_ids=frozenset({first[0]}))
    push = Push(1, "residual", torch.ones(HIDDEN) / HIDDEN**0.5, 1.0, "add", "response")
    evaluator = Evaluator(silent, FakeContext(silent), Generous(), max_new_tokens=6, batch_rows=8)
    evaluator.begin("steering", 3)
    [run] = evaluator.evaluate([RunSpec(questions, "v", (push,))])
    assert [not answer.ids for answer in run.answers] == [one == first[0] for one in first]
    assert run.effect["fires"] > 0
    assert run.effect["mean_change"] == pytest.approx(1.0)
    with pytest.raises(ModelFault, match="fired for 0 of 1 answers"):
        evaluator.evaluate([RunSpec(questions[:1], "of one question", (push,))])


def test_progress_counts_the_answers_of_stored_runs(tiny_lm: Callable[..., LanguageModel]) -> None:
    """Twelve runs in one call: the count grows with each, and a resumed job begins with those it has."""
    lm = tiny_lm("llama")
    questions = [
        Question(i, "test", f"{i} ?", None, f"c{i}", tuple(prompt)) for i, prompt in enumerate(some_prompts(5, 3, longest=12))
    ]
    specs = [RunSpec(questions, f"run {number}") for number in range(12)]
    cells: dict[str, bytes] = {}
    for known, yields in ((0, range(4, 13)), (36, range(1))):  # a job that has all its runs does not yield
        context = FakeContext(lm, cells=cells)
        evaluator = Evaluator(lm, context, Generous(), max_new_tokens=4, batch_rows=8)
        evaluator.begin("answering test questions", 36)
        evaluator.evaluate(specs)
        assert context.phases[-1] == ("answering test questions", 36, "answers")
        assert sorted({done for _, done in context.reports}) == list(range(known, 37, 3))
        assert context.yield_points in yields


@pytest.mark.parametrize("judge", [Generous(), OnDevice()], ids=["elsewhere", "here"])
def test_which_runs_share_a_batch_changes_no_byte_of_what_is_kept(
    tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch, judge: Generous
) -> None:
    """A slow machine answers in smaller waves, down to pieces of a run: hidden states then differ in their last digits, but stored runs must
    not."""
    lm = tiny_lm("llama")
    vector = torch.randn(HIDDEN, generator=torch.Generator().manual_seed(0))
    vector /= vector.norm()
    questions = [
        Question(i, "test", f"{i} ?", None, f"c{i}", tuple(prompt)) for i, prompt in enumerate(some_prompts(5, 6, longest=12))
    ]
    pushed = [(Push(1, "residual", vector, c, operation, "all"),) for c in (0.3, 1.0, 3.0) for operation in OPERATIONS]
    specs = [RunSpec(questions, f"run {place}", pushes) for place, pushes in enumerate(pushed)]
    kept = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr("workers.steering.evaluator.WAVE_SECONDS", seconds)
        context = FakeContext(lm)
        evaluator = Evaluator(lm, context, judge, max_new_tokens=6, batch_rows=32)
        evaluator.begin("answering test questions", len(specs) * len(questions))
        kept.append([run.to_bytes() for run in evaluator.evaluate(specs)])
        assert any(name.startswith("part/") for name in context.committed) == judge.uses_device
    assert kept[0] == kept[1]


def test_a_slow_run_yields_between_its_pieces_and_repeats_none(
    tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job yields at each of its yield points in turn."""
    lm = tiny_lm("llama")
    questions = [
        Question(i, "test", f"{i} ?", None, f"c{i}", tuple(prompt)) for i, prompt in enumerate(some_prompts(5, 12, longest=12))
    ]
    vector = torch.ones(HIDDEN) / HIDDEN**0.5
    specs = [RunSpec(questions, f"run {c}", (Push(1, "residual", vector, c, "add", "all"),)) for c in (0.5, 1.0)]

    def evaluator(cells: dict[str, bytes], seconds: float) -> tuple[Evaluator, FakeContext]:
        monkeypatch.setattr("workers.steering.evaluator.WAVE_SECONDS", seconds)
        context = FakeContext(lm, cells=cells)
        made = Evaluator(lm, context, OnDevice(), max_new_tokens=6, batch_rows=8)
        made.begin("answering test questions", 24)
        return made, context

    whole = [run.to_bytes() for run in evaluator({}, 1e9)[0].evaluate(specs)]
    cells: dict[str, bytes] = {}
    generated = attempts = 0
    runs: list[Run] = []
    while not runs:
        one, context = evaluator(cells, 0.0)
        monkeypatch.setattr(context, "may_yield", yielding)
        attempts += 1
        with suppress(JobYielded):
            runs = one.evaluate(specs)
        generated += one.tokens
        assert len(set(context.committed)) == len(context.committed) <= 1
    answers = [answer for run in runs for answer in run.answers]
    assert generated == sum(len(answer.ids) for answer in answers)
    assert [run.to_bytes() for run in runs] == whole
    assert attempts > 2 * len(specs)
