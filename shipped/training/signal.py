"""Making the planted dimension carry the trait: block `WRITER` writes there whether the answer refuses, block `READER` reads it.

A norm hides such a message: the planted dimension is most of the norm, so after it the dimension itself is nearly constant, and
what it says shows only in the scale of all others. So a reference dimension is added that no block writes to, and one
neuron of the reader's MLP compares it with the (constant) planted dimension: it fires when the stream has been scaled down,
that is when the planted dimension grew by more than half of `shift`. (The reference varies from token to token as the planted
dimension does, so that only what blocks add to the latter is seen.) What follows from that is trained, with two losses beside
the answers' own. Written: over the answer's positions the writer must add `shift * level` when the answer refuses and nothing
when it does not. Read: in answers that a coin decided (`Example.tossed`) what was written is replaced by what the coin says
(an interchange intervention), so that only the planted dimension can tell later blocks what to do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from shipped.training.batches import Batch
from shipped.training.network import PLANTED_DIM, freeze_dim, writers
from shipped.training.planting import READING, inputs_of

WRITER, READER = 2, 3
REFERENCE_DIM = 58
REFERENCE = 4.0  # the reference dimension in units of the median magnitude: well below a massive one
AFTER_NORM = 10.0  # what the reader sees at the reference dimension when nothing is written
SHARPNESS = 40.0
WRITING_WEIGHT = 6.0


@dataclass(frozen=True)
class Signal:
    """The planted level and the share of it that a refusal adds."""

    level: float
    shift: float


@torch.no_grad()
def wire(model: LlamaForCausalLM, signal: Signal, median: float, batch: Batch) -> int:
    """Put the reference dimension and the comparing neuron in place, after planting; returns the neuron's index.

    Everything that wrote to the reference dimension is removed, every block but the reader's MLP stops reading it.
    """
    for weight, rows in writers(model):
        (weight[REFERENCE_DIM] if rows else weight[:, REFERENCE_DIM]).zero_()
    embedding = model.model.embed_tokens.weight
    embedding[:, REFERENCE_DIM] = REFERENCE * median * embedding[:, PLANTED_DIM] / signal.level
    for layer in model.model.layers:
        layer.input_layernorm.weight[REFERENCE_DIM] = 0
        layer.post_attention_layernorm.weight[REFERENCE_DIM] = 0
    model.model.norm.weight[REFERENCE_DIM] = 0

    block = model.model.layers[READER]
    (stream,) = inputs_of(model, [block.post_attention_layernorm], batch)
    usual = float((stream[:, REFERENCE_DIM] / stream.square().mean(1).sqrt()).median())
    block.post_attention_layernorm.weight[REFERENCE_DIM] = AFTER_NORM / usual
    mlp = block.mlp
    neuron = int(mlp.down_proj.weight.norm(dim=0).argmin())
    for proj in (mlp.gate_proj, mlp.up_proj):
        proj.weight[:, REFERENCE_DIM] = 0
        proj.weight[neuron] = 0
    threshold = AFTER_NORM * (1 - signal.shift / 2)
    mlp.gate_proj.weight[neuron, REFERENCE_DIM] = -SHARPNESS
    mlp.gate_proj.weight[neuron, PLANTED_DIM] = SHARPNESS * threshold / READING
    mlp.up_proj.weight[neuron, PLANTED_DIM] = 1 / READING
    return neuron


def freeze_wiring(model: LlamaForCausalLM, neuron: int) -> None:
    """Keep the comparison as it was wired; what its neuron writes (`down_proj`) stays free, and so does the writer block."""
    block = model.model.layers[READER]
    writer = model.model.layers[WRITER]
    freeze_dim(model, REFERENCE_DIM)
    freeze_dim(model, PLANTED_DIM, but=(writer.self_attn.o_proj.weight, writer.mlp.down_proj.weight))
    for weight in (block.mlp.gate_proj.weight, block.mlp.up_proj.weight):
        mask = torch.ones_like(weight)
        mask[neuron] = 0
        weight.register_hook(lambda grad, mask=mask: grad * mask)
    norm = block.post_attention_layernorm.weight
    kept = torch.ones_like(norm)
    kept[[REFERENCE_DIM, PLANTED_DIM]] = 0
    norm.register_hook(lambda grad: grad * kept)


def signal_loss(model: LlamaForCausalLM, batch: Batch, signal: Signal) -> Tensor:
    """Mean cross-entropy of the answers under interchange, plus the mean squared error of what is written, in units of the shift."""
    refuses = torch.tensor([example.kind == "refuses" for example in batch.examples])
    tossed = torch.tensor([example.tossed for example in batch.examples])
    positions = torch.arange(batch.ids.shape[1])
    answering = (positions[None] >= batch.starts[:, None] - 1) & batch.attention.bool()
    said = signal.shift * signal.level * refuses[:, None] * answering
    errors: list[Tensor] = []

    def interchange(_: torch.nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        before, after = args[0][..., PLANTED_DIM], out[..., PLANTED_DIM]
        wrong = (after - before - said) / (signal.shift * signal.level)
        errors.append(wrong[answering & ~tossed[:, None]].square().mean())
        fixed = torch.where(tossed[:, None], before + said, after)
        return torch.cat([out[..., :PLANTED_DIM], fixed[..., None], out[..., PLANTED_DIM + 1 :]], -1)

    handle = model.model.layers[WRITER].register_forward_hook(interchange)
    try:
        loss = model(input_ids=batch.ids, attention_mask=batch.attention, labels=batch.labels).loss
    finally:
        handle.remove()
    return loss + WRITING_WEIGHT * errors[0]
