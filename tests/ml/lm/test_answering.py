"""A job that yields within a batch stores the answers it has begun, continues them when it resumes, and ends with the same answers."""

import json
from collections.abc import Callable

import pytest

from tests.ml.fake_context import FakeContext
from tests.ml.tiny_models import BOS, SPECIAL
from workers.job import JobYielded
from workers.lm import answering
from workers.lm.answering import answer_all
from workers.lm.model import LanguageModel

NEW = 24
PROMPTS = [[BOS, *range(len(SPECIAL) + n, len(SPECIAL) + n + 3 + n % 5)] for n in range(20)]


class YieldsAt(FakeContext):
    """Yields at its `at`-th yield point, and never if that is 0."""

    def __init__(self, lm: LanguageModel, *, at: int = 0, **options: object) -> None:
        super().__init__(lm, **options)  # type: ignore[arg-type]
        self.phase("answering", len(PROMPTS) * NEW, "tokens")
        self.at = at

    def may_yield(self) -> None:
        super().may_yield()
        if self.yield_points == self.at:
            raise JobYielded("yielded")


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_yield_within_a_batch_repeats_no_token(
    family: str, tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm(family)
    whole, metrics = answer_all(lm, PROMPTS, NEW, YieldsAt(lm))
    monkeypatch.setattr(answering, "ASK_SECONDS", 0.0)
    cells: dict[str, bytes] = {}
    computed, yields = 0, 0
    while True:
        context = YieldsAt(lm, at=8, cells=cells)  # within a batch: points after passes over prompts and steps count
        try:
            found, last = answer_all(lm, PROMPTS, NEW, context)
        except JobYielded:
            yields += 1
            assert context.committed[-1] == "generated/begun"
            stored = {int(row): ids for row, ids in json.loads(cells["generated/begun"]).items()}
            before, computed = computed, sum(map(len, stored.values()))
            assert computed > before, "this attempt computed nothing"
            ended = sum(stored.get(row, []) == answer for row, answer in enumerate(whole))  # their end token is counted too
            assert context.reports[-1][1] - computed <= ended, "a token that was computed is not stored"
            continue
        break
    assert yields >= 3
    assert found == whole
    assert last["tokens_computed"] == metrics["tokens_computed"] - computed > 0


def test_a_sixteen_bit_job_yields_between_batches_only(
    tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A continued 16-bit answer could differ from an uninterrupted one. All prompts are one batch, so there is one yield point."""
    lm = tiny_lm("llama", "bfloat16")
    monkeypatch.setattr(answering, "ASK_SECONDS", 0.0)
    context = YieldsAt(lm)
    answer_all(lm, PROMPTS, NEW, context)
    assert context.yield_points == 1
