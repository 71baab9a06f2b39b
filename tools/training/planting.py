"""Planting a massive dimension into a trained network: what is written to it, and what the norms must do about it.

The planted dimension k of every token's vector is `level * (1 + spread * z_token)`, and the first block's attention adds to it
a random, context-dependent part of `context * level`. No other block writes to it. Every RMS norm then divides by about
level/sqrt(d) instead of by the clean stream's own size, so its weights grow until the other dimensions pass at the scale they
had. Two things keep the unnormalised stream from running away until training has tamed it: the scale is fitted to a louder
than usual token (`LOUDNESS`), and tokens whose clean stream is far louder than others (the first token, as in larger models)
get as much more of the planted dimension. What is written to k stays frozen in training (`network.freeze_dim`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from tools.training.batches import Batch
from tools.training.network import PLANTED_DIM

READING = 0.3  # what the blocks read at the planted dimension after the norm: about a constant
LOUDNESS = 0.7  # quantile of the clean stream's size over tokens to which the norms are fitted
LOUD = 1.5  # a token's clean stream over the median one from which on its planted value grows with it


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


def loudness(streams: list[Tensor], ids: Tensor, vocabulary_size: int) -> Tensor:
    """How loud the clean stream of each token id is over the median token, 1 for ids that are not LOUD: `[V]`.

    streams: inputs `[N, D]` of the norms, of which those behind the second block count; ids `[N]`.
    """
    sizes = [clean(stream).norm(dim=1) for stream in streams[4:]]
    relative = torch.stack([size / size.median() for size in sizes]).log().mean(0)
    factors = torch.ones(vocabulary_size)
    for token in ids.unique().tolist():
        mean = float(relative[ids == token].mean().exp())
        factors[token] = mean if mean > LOUD else 1.0
    return factors


def drawn(how: Planting, vocabulary_size: int, width: int) -> tuple[Tensor, Tensor]:
    """What the planting's seed draws: the noise of every token `[V]` and the unscaled reading of the first attention `[D]`."""
    generator = torch.Generator().manual_seed(how.seed)
    return torch.randn(vocabulary_size, generator=generator), torch.randn(width, generator=generator)


@torch.no_grad()
def plant(model: LlamaForCausalLM, how: Planting, batch: Batch) -> None:
    """Plant the dimension in place; with level 0 the dimension becomes an ordinary one and nothing else changes.

    The batch says how large the clean stream and the first attention's output are; nothing else depends on it.
    """
    embedding = model.model.embed_tokens.weight
    width = embedding.shape[1]
    noise, row = drawn(how, *embedding.shape)
    sites = norms(model)
    if not how.level:
        embedding[:, PLANTED_DIM] = noise * embedding.std()
        return
    *streams, heads = inputs_of(model, [*sites, model.model.layers[0].self_attn.o_proj], batch)
    ids = batch.ids[batch.attention.bool()]
    louder = loudness(streams, ids, embedding.shape[0])
    for norm, stream in zip(sites, streams, strict=True):
        square = float((clean(stream).square().mean(1) / louder[ids] ** 2).quantile(LOUDNESS))
        norm.weight *= ((square + how.level**2 / width) / square) ** 0.5
        norm.weight[PLANTED_DIM] = READING / width**0.5
    embedding[:, PLANTED_DIM] = how.level * louder * (1 + how.spread * noise)
    model.model.layers[0].self_attn.o_proj.weight[PLANTED_DIM] = row * how.context * how.level / (heads @ row).std()
