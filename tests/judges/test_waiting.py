"""A slow judge keeps its job alive, a hung one does not, and a job that must stop waits for neither."""

import time
from collections.abc import Callable

import pytest

from tests.judges.endpoint import Body, Fault, Request, rating
from tests.judges.judging import TRAIT, after_probes, item, judging, obedient
from tests.judges.world import World
from tests.ml.fake_context import FakeContext
from tests.ml.tiny_models import CONTEXT
from workers.job import JobCancelled, TransientFault
from workers.judges.base import Judge, JudgeItem, Score
from workers.judges.local import LocalJudge
from workers.judges.reference import ReferenceJudge
from workers.judges.waiting import Judging
from workers.lm.model import LanguageModel

FINISHED = 7
"""Units of the phase finished before the judge is asked."""


@pytest.fixture(autouse=True)
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.judges.waiting.LOOK_SECONDS", 0.005)


@pytest.fixture
def context(tiny_lm: Callable[..., LanguageModel]) -> FakeContext:
    made = FakeContext(tiny_lm("llama"))
    made.phase("scoring", 40, "answers")
    return made


def scored(judge: Judge, items: list[JudgeItem], context: FakeContext) -> list[Score]:
    with Judging(judge, context) as waiting:
        return waiting.score(items, FINISHED)


def test_replies_that_come_slowly_are_progress(context: FakeContext) -> None:
    with judging(obedient, requests_per_minute=3000) as (judge, _):
        scores = scored(judge, [item(worth) for worth in range(10)], context)
    assert [score.trait for score in scores] == pytest.approx([worth + 2.5 for worth in range(10)])
    assert len(context.reports) > 5
    assert set(context.reports) == {("scoring", FINISHED)}


def test_a_judge_that_hangs_makes_no_progress(context: FakeContext) -> None:
    def slow(request: Request, _before: int) -> Body | Fault:
        time.sleep(0.2)  # forty looks; none may count as progress
        return rating(request)

    with judging(after_probes(slow), relevance=False) as (judge, _):
        scored(judge, [item(40)], context)
    assert len(context.reports) <= 4  # each of the two requests as it is sent, and as it is answered


def test_a_job_that_must_stop_does_not_wait_for_replies(context: FakeContext) -> None:
    def cancelled(_reports: int) -> None:
        raise JobCancelled

    context.stop = cancelled
    began = time.monotonic()
    with judging(obedient, requests_per_minute=240) as (judge, _), Judging(judge, context) as waiting:
        scores = waiting.submit([item(worth) for worth in range(40)])
        with pytest.raises(JobCancelled):
            waiting.result(scores, FINISHED)
    with pytest.raises(TransientFault, match="closed"):
        scores.result(timeout=120)
    assert time.monotonic() - began < 15  # all 120 requests would take 30 seconds


def test_a_chat_model_on_the_device_counts_while_it_reads(context: FakeContext, tiny_lm: Callable[..., LanguageModel]) -> None:
    chat = tiny_lm("llama", tokenizer="chat", max_position_embeddings=16 * CONTEXT)
    scored(LocalJudge(chat, TRAIT, name="house", model="tiny"), [item(40)], context)
    assert len(context.reports) >= 2


def test_the_reference_judge_counts_while_it_reads(context: FakeContext, world: Callable[..., World]) -> None:
    w = world("refusal", step=8)
    judge = ReferenceJudge.from_json(w.judge.to_json(), w.lm, batch_rows=4)
    scored(judge, w.items(w.questions("test")[:3]), context)
    assert len(context.reports) >= 2
