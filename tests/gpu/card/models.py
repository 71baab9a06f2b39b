"""Random models of real shapes, made on the device itself: 8 GB of weights take seconds and no file."""

from pathlib import Path
from typing import Any

import torch
import transformers

from tests.gpu.card.record import Setup
from tests.ml.tiny_models import BOS, tiny_tokenizer
from workers.lm.architecture import find_layout
from workers.lm.checkpoint import quiet
from workers.lm.facts import ModelFacts
from workers.lm.model import LanguageModel

SHAPES: dict[str, dict[str, Any]] = {
    "1.5B": {  # Qwen2.5-1.5B
        "vocab_size": 151_936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": True,
    },
    "4B": {  # gemma-3-4b, its text model
        "vocab_size": 262_208,
        "hidden_size": 2560,
        "intermediate_size": 10_240,
        "num_hidden_layers": 34,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 1024,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": True,
    },
}
_TINY = {
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
_CONFIGS = {"1.5B": "Qwen2Config", "4B": "Gemma3TextConfig"}


def random_lm(shape: str, setup: Setup, dtype: torch.dtype = torch.bfloat16) -> LanguageModel:
    """A model of `shape` (1.5B or 4B; small on a tiny run) with random weights. Its answers never end before their limit, and its tokenizer
    has a text for each of its tokens."""
    settings = SHAPES[shape] | (_TINY if setup.tiny else {}) | ({"head_dim": 16} if setup.tiny and shape == "4B" else {})
    config = getattr(transformers, _CONFIGS[shape])(**settings, bos_token_id=BOS, eos_token_id=None, pad_token_id=0)
    torch.manual_seed(0)
    with quiet(), torch.device(setup.device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.requires_grad_(False)
    model.eval()
    model.generation_config.eos_token_id = None
    layout = find_layout(model)
    facts = ModelFacts(
        architecture=type(model).__name__,
        layer_class=layout.layer_class,
        layers=layout.n_layers,
        hidden_size=layout.hidden_size,
        context_length=config.max_position_embeddings,
        vocab_size=config.vocab_size,
        dtype=str(dtype).removeprefix("torch."),
        n_parameters=sum(p.numel() for p in model.parameters()),
        bytes=0,
        has_chat_template=False,
        weight_hash="0" * 64,
        tokenizer_hash="0" * 64,
        files=(),
    )
    tokenizer = tiny_tokenizer(vocabulary=config.vocab_size)
    return LanguageModel(model, tokenizer, layout, torch.device(setup.device), dtype, facts, frozenset(), 0, Path())
