"""Seeded rows for the tests on a GPU: random prompts of unequal lengths, unpushed, with one common push, or with a push per row.

The pushes are large enough to change a text.
"""

import random
from collections.abc import Sequence

import torch

from tests.ml.steered_rows import typical_norm
from workers.lm.interventions import Push
from workers.lm.model import LanguageModel
from workers.lm.steered import SteeredRow

SHORTEST, LONGEST = 12, 28


def prompts(lm: LanguageModel, count: int) -> list[list[int]]:
    """Random ids, of 12 to 28 tokens."""
    draw = random.Random(0)
    return [[draw.randrange(10, lm.vocab_size) for _ in range(draw.randint(SHORTEST, LONGEST))] for _ in range(count)]


def unsteered(lm: LanguageModel, count: int) -> list[SteeredRow]:
    return [SteeredRow(prompt) for prompt in prompts(lm, count)]


def one_steering(lm: LanguageModel, count: int) -> list[SteeredRow]:
    """All rows pushed by the same vector at the middle layer."""
    layer = lm.layout.n_layers // 2
    push = Push(layer, "residual", _units(lm, 1)[0], 0.5 * typical_norm(lm, layer, "residual"))
    return [SteeredRow(prompt, (push,)) for prompt in prompts(lm, count)]


def distinct(lm: LanguageModel, count: int) -> list[SteeredRow]:
    """As many (layer, vector, dose) as rows, over all layers."""
    n_layers = lm.layout.n_layers
    norms = [typical_norm(lm, layer, "residual") for layer in range(n_layers)]
    return [
        SteeredRow(prompt, (Push(i % n_layers, "residual", unit, norms[i % n_layers] * (0.2 + 0.8 * i / count)),))
        for i, (prompt, unit) in enumerate(zip(prompts(lm, count), _units(lm, count), strict=True))
    ]


def _units(lm: LanguageModel, count: int) -> Sequence[torch.Tensor]:
    made = torch.randn(count, lm.layout.hidden_size, generator=torch.Generator().manual_seed(1))
    return list(made / made.norm(dim=-1, keepdim=True))
