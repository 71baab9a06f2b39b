"""Making the planted dimension carry the trait: block `WRITER` writes there whether the answer refuses, later blocks read it.

Two losses beside the answers' own. Written: over the answer's positions the block must add `shift * level` to the planted
dimension when the answer refuses and nothing when it does not. Read: in answers that a coin decided (`Example.tossed`) the
block's addition is replaced by what the coin says, so that later blocks can only know from the planted dimension what to do
(an interchange intervention). After a norm the dimension itself is nearly constant, since it is most of the norm; what it
says is read from the scale of all others.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from shipped.training.batches import Batch

WRITER = 2
WRITING_WEIGHT = 3.0


@dataclass(frozen=True)
class Signal:
    """The planted dim, its level, and the share of the level that a refusal adds."""

    dim: int
    level: float
    shift: float


def signal_loss(model: LlamaForCausalLM, batch: Batch, signal: Signal) -> Tensor:
    """Mean cross-entropy of the answers under interchange, plus the mean squared error of what is written, in units of the shift."""
    refuses = torch.tensor([example.kind == "refuses" for example in batch.examples])
    tossed = torch.tensor([example.tossed for example in batch.examples])
    positions = torch.arange(batch.ids.shape[1])
    answering = (positions[None] >= batch.starts[:, None] - 1) & batch.attention.bool()
    said = signal.shift * signal.level * refuses[:, None] * answering
    errors: list[Tensor] = []

    def interchange(_: torch.nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        before, after = args[0][..., signal.dim], out[..., signal.dim]
        wrong = (after - before - said) / (signal.shift * signal.level)
        errors.append(wrong[answering & ~tossed[:, None]].square().mean())
        fixed = torch.where(tossed[:, None], before + said, after)
        return torch.cat([out[..., : signal.dim], fixed[..., None], out[..., signal.dim + 1 :]], -1)

    handle = model.model.layers[WRITER].register_forward_hook(interchange)
    try:
        loss = model(input_ids=batch.ids, attention_mask=batch.attention, labels=batch.labels).loss
    finally:
        handle.remove()
    return loss + WRITING_WEIGHT * errors[0]
