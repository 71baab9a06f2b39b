"""Tiny random models of every decoder family that the library builds from a config, made by the product's own shrinking of each default config.

A family is a `model_type` of the library's causal language models. `ENTRIES` gives a default config what it lacks to be built, or layers of
every type where the default has one type alone.
"""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

from tests.ml.tiny_models import tiny_tokenizer
from workers.lm.architecture import find_layout
from workers.lm.checkpoint import quiet
from workers.lm.facts import ModelFacts
from workers.lm.model import LanguageModel
from workers.lm.shrinking import number, shrunk
from workers.lm.structure.twin import layer_types, layers_needed

LAYERS = 4
ENTRIES: Mapping[str, Mapping[str, Any]] = {
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 8, "num_experts_per_tok": 2},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 4, "moe_topk": 2, "moe_intermediate_size": [64] * 32},
    "ministral": {"head_dim": 128},
    "nemotron": {"head_dim": 128, "num_key_value_heads": 8},
    "lfm2": {"layer_types": ["conv", "conv", "full_attention", "conv"] * 8},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"] * 8},
    "opt": {"word_embed_proj_dim": 256},
    "bamba": {"attn_layer_indices": [1, 3]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 16},
    "dbrx": {"attn_config": {"rope_theta": 10_000.0, "kv_n_heads": 8, "clip_qkv": 8.0}},
    "zamba": {
        "layers_block_type": ["linear_attention", "hybrid"] * 38, "hidden_size": 128, "attention_hidden_size": 256, "attention_head_dim": 64,
        "num_attention_heads": 4, "num_key_value_heads": 4, "mamba_dt_rank": 8,
    },
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 20,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": 10_000.0} for kind in ("sliding_attention", "full_attention")},
    },
    "minimax_m3_vl_text": {"layer_types": ["full_attention", "minimax_m3_sparse"] * 30},
    "inkling_text": {"log_scaling_n_floor": 128_000},
    "qwen4_exp_text": {
        "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 256, "indexer_budget": 32, "indexer_compress_ratio": 4,
    },
    "xlstm": {"hidden_size": 128, "embedding_dim": 128, "num_hidden_layers": 4, "num_blocks": 4, "num_heads": 4, "chunk_size": 16},
}  # fmt: skip
OTHERS = frozenset((
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "git", "megatron-bert", "reformer", "rembert",
    "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "trocr", "whisper", "xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod",
    "mllama", "emu3", "got_ocr2", "fuyu", "gpt-sw3", "musicgen", "musicgen_melody", "moss_transcribe_diarize", "gemma4_assistant",
    "gemma4_unified_assistant",
))  # fmt: skip
"""Encoders that can be run as decoders, parts of speech and picture models, and second names of a family that is listed."""
LABS = (
    "llama", "qwen3", "qwen3_5_text", "qwen3_moe", "gemma3_text", "gemma4_text", "gpt_oss", "olmo3", "granite", "glm4", "mixtral", "deepseek_v3",
)  # fmt: skip
"""Families that labs use most."""


def families() -> list[str]:
    """The names of all families, in the library's order; wrappers with a text model of their own name are that family."""
    found = []
    for name in CLASSES:
        config = transformers.models.auto.configuration_auto.CONFIG_MAPPING[name]
        if name not in OTHERS and not getattr(config, "is_encoder_decoder", False) and f"{name}_text" not in CLASSES:
            found.append(name)
    return found


def tiny_family(name: str, *, seed: int = 0) -> LanguageModel:
    """A tiny model of the family, in memory: no folder, no end-of-sequence ids. Raises what the library raises where none can be built."""
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        full = AutoConfig.for_model(name, **ENTRIES.get(name, {})).get_text_config()
        config = shrunk(full, max(LAYERS, layers_needed(layer_types(full))))
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    _randomise(model)
    model = model.float().eval().requires_grad_(False)
    layout = find_layout(model)
    facts = ModelFacts(
        architecture=type(model).__name__,
        layer_class=layout.layer_class,
        layers=layout.n_layers,
        hidden_size=layout.hidden_size,
        context_length=256,
        vocab_size=number(model.config, "vocab_size") or 0,
        dtype="float32",
        n_parameters=0,
        bytes=0,
        has_chat_template=False,
        weight_hash="",
        tokenizer_hash="",
        files=(),
    )
    tokenizer = tiny_tokenizer()
    return LanguageModel(model, tokenizer, layout, torch.device("cpu"), torch.float32, facts, frozenset(), 0, Path())


def _randomise(model: torch.nn.Module) -> None:
    """Weights that make text depend on all of the prompt, norms and scales away from their constants."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 1.2 / math.sqrt(parameter.shape[-1]))
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
        for buffer in model.buffers():
            if buffer.is_floating_point() and buffer.numel() == 1 and float(buffer) == 1:
                buffer.fill_(0.8)
