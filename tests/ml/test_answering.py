"""A job gives way within a batch: the answers that have begun are kept and continued, and come out as if nothing had happened."""

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


class Waiting(FakeContext):
    """Another job waits from the n-th question on."""

    def __init__(self, lm: LanguageModel, *, gives_way_at: int = 0, **options: object) -> None:
        super().__init__(lm, **options)  # type: ignore[arg-type]
        self.phase("answering", len(PROMPTS) * NEW, "tokens")
        self.gives_way_at = gives_way_at

    def may_yield(self) -> None:
        super().may_yield()
        if self.yield_points == self.gives_way_at:
            raise JobYielded("yielded")


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_yield_within_a_batch_repeats_no_token(
    family: str, tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm(family)
    whole, metrics = answer_all(lm, PROMPTS, NEW, Waiting(lm))
    monkeypatch.setattr(answering, "ASK_SECONDS", 0.0)
    cells: dict[str, bytes] = {}
    computed, yields = 0, 0
    while True:
        context = Waiting(lm, gives_way_at=7, cells=cells)
        try:
            found, _ = answer_all(lm, PROMPTS, NEW, context)
        except JobYielded:
            yields += 1
            assert context.committed[-1] == "generated/begun"
            before, computed = computed, sum(map(len, json.loads(cells["generated/begun"]).values()))
            assert computed > before, "nothing new came of it"
            continue
        break
    assert yields >= 3
    assert found == whole
    assert metrics["tokens_computed"] > 0


def test_sixteen_bits_give_way_between_batches_alone(
    tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a continued answer could differ from one that was not interrupted."""
    lm = tiny_lm("llama", "bfloat16")
    monkeypatch.setattr(answering, "ASK_SECONDS", 0.0)
    context = Waiting(lm)
    answer_all(lm, PROMPTS, NEW, context)
    assert context.yield_points == 1
