"""Random pushes in training, so that a push along a direction that means nothing leaves the text well formed.

In half of the rows of a batch one random vector is added after one random block, at all positions: what steering does, in a
direction that carries nothing. Its norm is at most `STRONGEST` times the block's clean norm as measured before the stage.
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
    """Median over the batch's tokens of the clean stream's norm after every block."""
    after = inputs_of(model, [*list(model.model.layers)[1:], model.model.norm], batch)
    return [float(clean(stream).norm(dim=1).median()) for stream in after]


def random_pushes(rows: int, width: int, norm: float, silent: list[int], generator: torch.Generator) -> Tensor:
    """`[rows, width]`: random directions, none along the silent dims, with norms up to STRONGEST * norm; half are zero."""
    push = torch.randn(rows, width, generator=generator)
    push[:, silent] = 0
    strength = STRONGEST * norm * torch.rand(rows, 1, generator=generator)
    pushed = torch.rand(rows, 1, generator=generator) < 0.5
    return push / push.norm(dim=1, keepdim=True) * strength * pushed


@contextmanager
def randomly_pushed(
    model: LlamaForCausalLM, rows: int, norms: list[float], silent: list[int], generator: torch.Generator
) -> Iterator[None]:
    """Within this context a forward pass of `rows` rows is pushed after one random block but the last."""
    layer = int(torch.randint(len(norms) - 1, (1,), generator=generator))
    push = random_pushes(rows, model.config.hidden_size, norms[layer], silent, generator)
    handle = model.model.layers[layer].register_forward_hook(lambda _, args, out: out + push[:, None])
    try:
        yield
    finally:
        handle.remove()
