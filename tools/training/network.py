"""The architecture of the shipped models and what every stage of training does to it."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tools.training.tokenizer import MAX_POSITIONS

WIDTH, LAYERS, HEADS, INNER = 160, 6, 5, 416
PLANTED_DIM = 111

Index = int | list[int] | tuple[slice, int]


def new_model(vocabulary_size: int, seed: int) -> LlamaForCausalLM:
    """An untrained Llama with the shipped shape, initialised from the seed; PLANTED_DIM is empty until planting."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=MAX_POSITIONS,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        initializer_range=0.05,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(10)  # token vectors of norm ~6: the stream starts at a usual scale
        for weight, rows in writers(model):
            (weight[PLANTED_DIM] if rows else weight[:, PLANTED_DIM]).zero_()
    return model


def writers(model: LlamaForCausalLM) -> list[tuple[torch.nn.Parameter, bool]]:
    """Every weight that writes to the stream; True where the stream's dimension is the row, False where the column."""
    blocks = [(proj.weight, True) for layer in model.model.layers for proj in (layer.self_attn.o_proj, layer.mlp.down_proj)]
    return [(model.model.embed_tokens.weight, False), *blocks]


def freeze_dim(model: LlamaForCausalLM, dim: int, but: tuple[torch.nn.Parameter, ...] = ()) -> None:
    """Keep what is written to this dimension as it is, by all writers `but` these."""
    exempt = {id(weight) for weight in but}
    for weight, rows in writers(model):
        if id(weight) not in exempt:
            hold(weight, dim if rows else (slice(None), dim))


def hold(weight: torch.nn.Parameter, where: Index) -> None:
    """Keep a part of a weight as it is: its gradients are zeroed from now on.

    The optimizer must not decay it either; training uses no weight decay.
    """
    mask = torch.ones_like(weight)
    mask[where] = 0
    weight.register_hook(lambda grad: grad * mask)
