"""Planting a massive dimension: what is written to it, and what the norms must do so that the rest passes as before.

The planted dimension k of every token's vector is `level * (1 + spread * z_token)`, and the first block's attention adds to it
a random, context-dependent part of `context * level`. No other block writes to it. Each RMS norm divides by about
level/sqrt(d), so its weights are as much larger as lets the other dimensions pass at their own scale; at k it passes
`READING`. What is written to k stays frozen while the model is trained with it (`network.freeze_dim`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from shipped.training.batches import Batch
from shipped.training.network import PLANTED_DIM, writers

READING = 0.3  # what the blocks read at the planted dimension after the norm: about a constant


@dataclass(frozen=True)
class Planting:
    """level: value at every token (0: none). spread: token-to-token share. context: share that depends on the text. seed."""

    level: float
    spread: float
    context: float
    seed: int


def norms(model: LlamaForCausalLM) -> list[LlamaRMSNorm]:
    """All RMS norms of the model, in the order in which the stream meets them."""
    blocks = [norm for layer in model.model.layers for norm in (layer.input_layernorm, layer.post_attention_layernorm)]
    return [*blocks, model.model.norm]


@torch.no_grad()
def inputs_of(model: LlamaForCausalLM, modules: list[torch.nn.Module], batch: Batch) -> list[Tensor]:
    """What each module receives at the batch's real tokens, `[N, D]` each."""
    seen: dict[int, Tensor] = {}
    keep = batch.attention.bool()
    handles = [
        module.register_forward_pre_hook(lambda _, args, i=i: seen.__setitem__(i, args[0][keep]))
        for i, module in enumerate(modules)
    ]
    try:
        model(input_ids=batch.ids, attention_mask=batch.attention)
    finally:
        for handle in handles:
            handle.remove()
    return [seen[i] for i in range(len(modules))]


def clean(stream: Tensor) -> Tensor:
    """The stream `[N, D]` with the planted dimension set to 0."""
    return torch.cat([stream[:, :PLANTED_DIM], torch.zeros_like(stream[:, :1]), stream[:, PLANTED_DIM + 1 :]], 1)


@torch.no_grad()
def median_magnitude(model: LlamaForCausalLM, batch: Batch) -> float:
    """Median over dims of the token-mean magnitude after a block, median over the middle half's blocks: the unit of a ratio."""
    blocks = list(model.model.layers)
    after = inputs_of(model, [*blocks[1:], model.model.norm], batch)  # the input of block l + 1 is the output of block l
    first, stop = len(blocks) // 4, -(-3 * len(blocks) // 4)
    return float(torch.stack([clean(h).abs().mean(0).median() for h in after[first:stop]]).median())


@torch.no_grad()
def plant(model: LlamaForCausalLM, new: Planting, batch: Batch, old: Planting | None = None) -> None:
    """Plant the dimension in place, in a fresh model (`old` None) or instead of an earlier planting.

    The batch says how large the clean stream and the first attention's output are; nothing else depends on it.
    """
    generator = torch.Generator().manual_seed(new.seed)
    sites = norms(model)
    streams = inputs_of(model, [*sites, model.model.layers[0].self_attn.o_proj], batch)
    heads = streams.pop()
    embedding = model.model.embed_tokens.weight
    width = embedding.shape[1]
    for norm, stream in zip(sites, streams, strict=True):
        square = float(clean(stream).square().mean(1).median()) if old else 1.0
        before = square + (old.level**2 / width if old else 0.0)
        norm.weight *= ((square + new.level**2 / width) / before) ** 0.5
        norm.weight[PLANTED_DIM] = READING / width**0.5 if new.level else norm.weight.median()

    for weight, rows in writers(model):
        (weight[PLANTED_DIM] if rows else weight[:, PLANTED_DIM]).zero_()
    noise = torch.randn(embedding.shape[0], generator=generator)
    row = torch.randn(heads.shape[1], generator=generator)
    if new.level:
        embedding[:, PLANTED_DIM] = new.level * (1 + new.spread * noise)
        model.model.layers[0].self_attn.o_proj.weight[PLANTED_DIM] = row * new.context * new.level / (heads @ row).std()
    else:
        embedding[:, PLANTED_DIM] = noise * embedding.std()
