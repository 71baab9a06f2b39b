"""Makes a text model's config small: the same kinds of layers, but few and narrow, so that the model is cheap to build and run.

Sizes are recognised by the names of their entries, since configs use the same names: heads, ranks, experts, windows, vocabularies. Heads keep
their width, because rotary factors are cut from it. Windows, and other lengths from which attention changes, become 8 tokens, so that short rows
exceed them. Nothing else changes.
"""

import copy
import re

import torch
from transformers import PretrainedConfig

from terms.values import Json, JsonObject

Entries = JsonObject
"""Names and values of a config."""

WINDOW, VOCABULARY, INNER, HEADS, EXPERTS, POSITIONS = 8, 512, 96, 4, 4, 4096
AT_MOST: tuple[tuple[str, int], ...] = (
    (r"index_n_heads", 16),  # of an index that selects tokens: with few heads its scores are often equal
    (r"(\w+_)?((num|n)_(\w+_)?heads?|num_heads)", HEADS),
    (r".*intermediate_size.*|.*ffn_(hidden_)?(dim|size)|n_inner|d_ff|ffn_dim|expert_ffn.*|dim_ff", INNER),
    (r"(moe_)?(num|n)_((local|routed|total|zero)_)?experts", EXPERTS),
    (r".*experts_per_tok\w*|.*top_?k(_experts|_blocks)?|num_selected_experts|moe_k", 2),
    (r"n_group|topk_group|num_expert_groups?|num_limited_groups|n_shared_experts|num_shared_experts", 1),
    (r".*vocab_size\w*", VOCABULARY),
    (r"max_position_embeddings|n_positions|max_seq_len\w*|max_sequence_length|n_ctx", POSITIONS),
    (r".*lora_rank|.*low_rank_dim|\w+_rank(_dim)?", 32),
    (r"(mamba_|ssm_)?d_state|(ssm_)?state_size", 16),
    (r"hidden_size_per_layer_input", 32),
)
"""The largest value for entries with a name that matches the pattern; the first match decides."""
KEY_HEADS = re.compile(r"(num|n)_(\w+_)?(key_value|kv|key)_heads|kv_n_heads|(linear_)?num_(\w+_)?(kv|key)_heads")
WINDOWS = re.compile(
    r".*(sliding_window|window_size|attention_window|chunk_size)|sliding_window_size|index_(topk|block_size)|floor_scale|.*_n_floor|rel_extent"
)
SPECIAL_ID = re.compile(r".*_token_(id|index)")
STATE_SPACE = (
    ("mamba_n_heads", "mamba_d_head", "mamba_expand"), ("n_mamba_heads", "mamba_headdim", "mamba_expand"),
    ("num_heads", "head_dim", "expand"), ("mamba_num_heads", "mamba_head_dim", "expand"),
)  # fmt: skip
"""Heads x their width = expand x the hidden size, where a config names all three."""


def shrunk(config: PretrainedConfig, layers: int, *, narrow: bool = True) -> PretrainedConfig:
    """A copy of `config`, float32, with its first `layers` layers; `narrow` also reduces widths, heads and experts."""
    made = copy.deepcopy(config)
    made.dtype = torch.float32
    _cut_lists(made, min(layers, made.num_hidden_layers))
    overrides = _overrides(made)
    heads = number(made, "num_attention_heads") or 0
    head = number(made, "head_dim") or (made.hidden_size // heads if heads else made.hidden_size)
    for entries in (vars(made), *overrides.values(), *(vars(v) for v in vars(made).values() if hasattr(v, "to_dict"))):
        own_heads = entries.get("num_attention_heads", heads)
        owner = made if entries is vars(made) else entries
        for name, value in list(entries.items()):
            if type(value) is int and value > 0 and not name.startswith("_"):
                _put(owner, name, _smaller(name, value, own_heads, narrow))
            elif isinstance(value, list) and value and all(type(n) is int and n > 0 for n in value):
                _put(owner, name, [_smaller(name, n, own_heads, narrow) for n in value])
    rope = vars(made).get("rope_parameters") or {}
    for parameters in (rope, *rope.values()):
        if isinstance(parameters, dict) and parameters.get("llama_4_scaling_beta"):  # queries grow with multiples of this length
            parameters["original_max_position_embeddings"] = WINDOW
    if narrow:
        made.hidden_size = min(made.hidden_size, HEADS * head)
        if hasattr(vars(made).get("ffn_config"), "hidden_size"):
            made.ffn_config.hidden_size = made.hidden_size
        _fit_state_space(made)
    return made


def number(config: PretrainedConfig, name: str) -> int | None:
    """The integer entry `name` of the config, or None. Reads the value for the whole model, even if single layers override it."""
    name = type(config).attribute_map.get(name, name)
    entry = vars(config).get(name)
    return entry if isinstance(entry, int) else None


def _smaller(name: str, value: int, heads: int, narrow: bool) -> int:
    """The value of an entry in the small config. Without `narrow` only windows, special token ids and vocabularies are reduced."""
    if WINDOWS.fullmatch(name):
        return min(value, WINDOW)
    if SPECIAL_ID.fullmatch(name):
        return min(value, VOCABULARY - 1)
    if not (narrow or "vocab" in name):
        return value
    if KEY_HEADS.fullmatch(name):
        return min(value, HEADS if value == heads else HEADS // 2)
    return next((min(value, most) for pattern, most in AT_MOST if re.fullmatch(pattern, name)), value)


def _cut_lists(made: PretrainedConfig, layers: int) -> None:
    """Reduces the number of layers: lists with an entry for each layer are shortened, and lists of layer numbers lose the removed layers."""
    before = made.num_hidden_layers
    for name, value in list(vars(made).items()):
        if isinstance(value, (list, tuple)) and len(value) == before and before > layers:
            _put(made, name, value[:layers])
        elif isinstance(value, list) and value and all(type(n) is int for n in value) and re.search("layer|attn_idx", name):
            _put(made, name, [layer for layer in value if layer < layers])
    overrides = _overrides(made)
    for layer in [layer for layer in overrides if int(layer) >= layers]:
        del overrides[layer]
    if shared := vars(made).get("num_kv_shared_layers"):
        made.num_kv_shared_layers = max(0, layers - (before - shared))
    if vars(made).get("num_blocks") == before:
        made.num_blocks = layers
    made.num_hidden_layers = layers


def _overrides(made: PretrainedConfig) -> dict[int, Entries]:
    """The config entries that override a value for single layers, by layer."""
    overrides: dict[int, Entries] = getattr(vars(made).get("_heterogeneity_spec"), "per_layer_overrides", {})
    return overrides


def _fit_state_space(made: PretrainedConfig) -> None:
    """Sets the number of state-space heads, and their width if necessary, so that STATE_SPACE holds for the reduced hidden size."""
    for count, width, expand in STATE_SPACE:
        if all(isinstance(vars(made).get(name), int) for name in (count, width, expand)):
            inner = getattr(made, expand) * made.hidden_size
            while inner % getattr(made, width):
                setattr(made, width, getattr(made, width) // 2)
            setattr(made, count, inner // getattr(made, width))


def _put(made: PretrainedConfig | Entries, name: str, value: Json) -> None:
    """Sets an entry; where the config's class refuses the assignment, sets it without the class's checks."""
    if isinstance(made, dict):
        made[name] = value
        return
    try:
        setattr(made, name, value)
    except (AttributeError, ValueError, TypeError):
        vars(made)[name] = value
