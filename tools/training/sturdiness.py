"""Adds random vectors during training, so that the trained model's text stays well formed under a push in a random direction.

In half of the rows of a batch, one random vector is added after one random block, at all positions, as steering does. Its norm is at most
`STRONGEST` times the block's clean norm, which was measured before this stage of training.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from tools.training.batches import Batch
from tools.training.planting import clean, inputs_of

STRONGEST = 0.8


def clean_norms(model: LlamaForCausalLM, batch: Batch) -> list[float]:
    """Returns the median norm of the clean stream after each block, over the tokens of the batch."""
    after = inputs_of(model, [*list(model.model.layers)[1:], model.model.norm], batch)
    return [float(clean(stream).norm(dim=1).median()) for stream in after]


def random_pushes(rows: int, width: int, norm: float, silent: list[int], generator: torch.Generator) -> Tensor:
    """Returns random vectors `[rows, width]`: zero in the silent dims, of norms up to STRONGEST * norm; about half are zero."""
    push = torch.randn(rows, width, generator=generator)
    push[:, silent] = 0
    strength = STRONGEST * norm * torch.rand(rows, 1, generator=generator)
    pushed = torch.rand(rows, 1, generator=generator) < 0.5
    return push / push.norm(dim=1, keepdim=True) * strength * pushed


@contextmanager
def randomly_pushed(
    model: LlamaForCausalLM, rows: int, norms: list[float], silent: list[int], generator: torch.Generator
) -> Iterator[None]:
    """Within this context, a forward pass of `rows` rows gets `random_pushes` after one random block, never the last."""
    layer = int(torch.randint(len(norms) - 1, (1,), generator=generator))
    push = random_pushes(rows, model.config.hidden_size, norms[layer], silent, generator)
    handle = model.model.layers[layer].register_forward_hook(lambda _, args, out: out + push[:, None])
    try:
        yield
    finally:
        handle.remove()
