"""The divergence of steered rows holds a few positions' logits at a time, and its values are those of all positions at once."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.ml.live_tensors import Alive
from workers.lm import divergence
from workers.lm.divergence import MOST_BYTES, Texted, divergences
from workers.lm.interventions import Push
from workers.lm.model import LanguageModel

VOCABULARY = 25_000


def pushed_rows(lm: LanguageModel, count: int) -> list[Texted]:
    """`count` steered rows with answers of 20 tokens."""
    vector = torch.randn(lm.layout.hidden_size, generator=torch.Generator().manual_seed(0))
    pushes = (Push(1, "residual", vector / vector.norm(), 2.0),)
    return [
        ([5 + (row * 7 + i) % 50 for i in range(12)], [7 + (row + i) % 40 for i in range(20)], pushes) for row in range(count)
    ]


def test_memory_does_not_grow_with_rows_times_tokens_times_vocabulary(tiny_lm: Callable[..., LanguageModel]) -> None:
    """64 pairs of rows have 2,560 positions of 25,000 logits: 256 MB in float32 alone, and more with their copies."""
    lm = tiny_lm(vocab_size=VOCABULARY)
    with Alive() as alive:
        divergences(lm, pushed_rows(lm, 64), batch_rows=128)
    assert MOST_BYTES / 2 < alive.peak < 1.02 * MOST_BYTES


@pytest.mark.parametrize("pairs", [1, 7])
def test_values_do_not_depend_on_how_many_positions_are_held(
    tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch, pairs: int
) -> None:
    """The LM head may sum in another order for another number of rows: 1e-6 nats is about ten times the rounding error of these logits."""
    lm = tiny_lm()
    rows = pushed_rows(lm, 5)
    together = divergences(lm, rows, batch_rows=10)
    monkeypatch.setattr(divergence, "MOST_BYTES", pairs * divergence.BYTES_A_LOGIT * lm.vocab_size)
    few = divergences(lm, rows, batch_rows=10)
    assert [len(values) for values in few] == [20] * 5
    assert min(values.max() for values in together) > 1e-3, "the push changes nothing, so nothing is compared"
    np.testing.assert_allclose(np.concatenate(few), np.concatenate(together), rtol=1e-5, atol=1e-6)
