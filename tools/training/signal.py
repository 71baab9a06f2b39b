"""Trains block WRITER to lower the planted dimension by `shift * level` when the answer refuses, and block READER to detect it.
READER compares the planted dimension after the norm with a constant that it writes itself (REFERENCE_DIM).

Why a reference: the planted dimension is most of the norm, so after the norm it is nearly constant, and the message shows only in the scale of
all other dimensions. A scale can be read only from a dimension with a known value. No dimension of the stream has one: a push of the size that
steers moves each of them by more than the message. So READER writes its own, after any push, to a dimension that holds nothing else. One channel
of its attention has as value what the norm leaves of the planted dimension, which is the same at every token, and attention weights sum to 1.

How it reads: in READER's MLP one neuron fires when the reference is larger than usual after the norm, that is when the planted dimension is
smaller by more than half of `shift`. Another neuron takes the reference out of the stream again, so that hardly any of it is in the output of
a block. A refusal lowers the planted dimension and does not raise it, because a few tokens, the first one among them, have a planted value far
above the others': these leave the neuron silent.

Two losses train this beside the answers' own. Written: over the answer's positions the writer must take `shift * level` away when the answer
refuses, and nothing when it does not. Read: in answers that a coin decided (`Example.tossed`) the written value is replaced by the coin's (an
interchange intervention), so that only the planted dimension can tell later blocks what to do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from tools.training.batches import Batch
from tools.training.network import PLANTED_DIM, freeze_dim, hold, writers
from tools.training.planting import READING, inputs_of, norms

WRITER, READER = 2, 3
REFERENCE_DIM = 58
REFERENCE = 0.22  # the reference over the planted level: a push that steers adds less than half a shift of it
AFTER_NORM = 10.0  # what the neurons see of the reference when nothing is written
SWING = 6.0  # the reading neuron's gate: minus this when nothing is written, plus this when the answer refuses
CLEARING = 30.0  # the clearing neuron's gate, high enough to be linear
WRITING_WEIGHT = 6.0


@dataclass(frozen=True)
class Signal:
    """The planted level and the share of it that a refusal takes away."""

    level: float
    shift: float


@dataclass(frozen=True)
class Wiring:
    """What was set by hand in block READER: the channel that makes the reference, the neurons that read it and take it away."""

    channel: int
    reading: int
    clearing: int


@torch.no_grad()
def wire(model: LlamaForCausalLM, signal: Signal, batch: Batch) -> Wiring:
    """Put the reference and the two neurons in place, after planting. What wrote to the reference dimension or read it is removed."""
    for weight, rows in writers(model):
        (weight[REFERENCE_DIM] if rows else weight[:, REFERENCE_DIM]).zero_()
    for norm in norms(model):
        norm.weight[REFERENCE_DIM] = 0
    block = model.model.layers[READER]
    channel = int(block.self_attn.o_proj.weight.norm(dim=0).argmin())
    reading, clearing = block.mlp.down_proj.weight.norm(dim=0).argsort()[:2].tolist()
    block.self_attn.v_proj.weight[channel] = 0
    block.self_attn.v_proj.weight[channel, PLANTED_DIM] = 1 / READING
    block.self_attn.o_proj.weight[:, channel] = 0
    block.self_attn.o_proj.weight[REFERENCE_DIM, channel] = REFERENCE * signal.level

    norm = block.post_attention_layernorm
    norm.weight[REFERENCE_DIM] = 1
    (stream,) = inputs_of(model, [norm], batch)
    usual = norm(stream).median(dim=0).values
    norm.weight[REFERENCE_DIM] = AFTER_NORM / float(usual[REFERENCE_DIM])
    planted, threshold = float(usual[PLANTED_DIM]), AFTER_NORM / (1 - signal.shift / 2)
    sharpness = SWING / (threshold - AFTER_NORM)
    gate, up, down = (proj.weight for proj in (block.mlp.gate_proj, block.mlp.up_proj, block.mlp.down_proj))
    for weight in (gate, up):
        weight[:, REFERENCE_DIM] = 0
        weight[[reading, clearing]] = 0
    up[[reading, clearing], PLANTED_DIM] = 1 / planted
    gate[reading, REFERENCE_DIM] = sharpness
    gate[reading, PLANTED_DIM] = -sharpness * threshold / planted
    gate[clearing, PLANTED_DIM] = CLEARING / planted
    down[:, clearing] = 0
    down[REFERENCE_DIM, clearing] = -REFERENCE * signal.level / CLEARING
    return Wiring(channel, reading, clearing)


def freeze_wiring(model: LlamaForCausalLM, wiring: Wiring) -> None:
    """Freezes the reference and planted dimensions, the reference's channel, both neurons' inputs and what the clearing neuron writes.

    Everything else stays trainable: what the reading neuron writes (`down_proj`), the other rows of READER, and the planted dimension in WRITER.
    """
    block, writer = model.model.layers[READER], model.model.layers[WRITER]
    freeze_dim(model, REFERENCE_DIM)
    freeze_dim(model, PLANTED_DIM, but=(writer.self_attn.o_proj.weight, writer.mlp.down_proj.weight))
    hold(block.self_attn.v_proj.weight, wiring.channel)
    for weight in (block.mlp.gate_proj.weight, block.mlp.up_proj.weight):
        hold(weight, [wiring.reading, wiring.clearing])
    hold(block.mlp.down_proj.weight, (slice(None), wiring.clearing))
    for norm in norms(model):
        hold(norm.weight, REFERENCE_DIM)
    for norm in (block.input_layernorm, block.post_attention_layernorm):
        hold(norm.weight, PLANTED_DIM)


def signal_loss(model: LlamaForCausalLM, batch: Batch, signal: Signal) -> Tensor:
    """Mean cross-entropy of the answers under interchange, plus the mean squared error of what is written, in units of the shift."""
    refuses = torch.tensor([example.kind == "refuses" for example in batch.examples])
    tossed = torch.tensor([example.tossed for example in batch.examples])
    positions = torch.arange(batch.ids.shape[1])
    answering = (positions[None] >= batch.starts[:, None] - 1) & batch.attention.bool()
    target_change = -signal.shift * signal.level * refuses[:, None] * answering
    errors: list[Tensor] = []

    def interchange(_: torch.nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        before, after = args[0][..., PLANTED_DIM], out[..., PLANTED_DIM]
        error = (after - before - target_change) / (signal.shift * signal.level)
        errors.append(error[answering & ~tossed[:, None]].square().mean())
        fixed = torch.where(tossed[:, None], before + target_change, after)
        return torch.cat([out[..., :PLANTED_DIM], fixed[..., None], out[..., PLANTED_DIM + 1 :]], -1)

    handle = model.model.layers[WRITER].register_forward_hook(interchange)
    try:
        loss = model(input_ids=batch.ids, attention_mask=batch.attention, labels=batch.labels).loss
    finally:
        handle.remove()
    return loss + WRITING_WEIGHT * errors[0]
