"""A small random twin of a model: every kind of its layers, few of them, and narrow, so that running it costs next to nothing.

The config is the model's own but for its sizes. Weights are drawn large enough for attention to matter; a window becomes 8 tokens, so that
short rows leave it.
"""

import copy
import math
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from workers.lm.architecture import find_layout
from workers.lm.checkpoint import quiet
from workers.lm.model import LanguageModel

WINDOW = 8
VOCABULARY, INNER, HEADS = 512, 256, 4
SPECIAL_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")


def small_twin(lm: LanguageModel) -> LanguageModel:
    """The twin, float32, on the model's device, with the model's tokenizer and no id that ends an answer."""
    try:
        model = _built(_shrunk(lm.model.config, narrow=True))
    except Exception:  # widths that depend on each other in ways of their own: only fewer layers then
        model = _built(_shrunk(lm.model.config, narrow=False))
    model = model.to(lm.device)
    config = model.config.get_text_config()
    facts = replace(lm.facts, vocab_size=config.vocab_size, layers=config.num_hidden_layers, hidden_size=config.hidden_size)
    return replace(lm, model=model, layout=find_layout(model), dtype=torch.float32, facts=facts, eos_ids=frozenset(), pad_id=0)


def _shrunk(config: Any, *, narrow: bool) -> Any:
    made = copy.deepcopy(config)
    made.dtype = torch.float32
    text = made.get_text_config()
    text.dtype = torch.float32
    kinds = getattr(text, "layer_types", None)
    layers = max(2, _covering(kinds)) if kinds else 2
    _set(text, num_hidden_layers=min(layers, text.num_hidden_layers))
    if kinds:
        text.layer_types = list(kinds)[: text.num_hidden_layers]
    if getattr(text, "sliding_window", None) is not None:
        text.sliding_window = WINDOW
    vocabulary = min(VOCABULARY, text.vocab_size)
    _set(text, vocab_size=vocabulary, **dict.fromkeys(SPECIAL_IDS, None))
    if narrow:
        _narrow(text)
    if getattr(made, "vision_config", None) is not None:
        made.vision_config.num_hidden_layers = 1
        made.image_token_id = made.image_token_index = vocabulary - 1
    return made


def _covering(kinds: list[str]) -> int:
    """Layers from the first on until every kind was there."""
    return 1 + max(kinds.index(kind) for kind in set(kinds))


def _narrow(text: Any) -> None:
    """Heads keep their width and stay grouped as they were; there are fewer of them, and a narrow MLP."""
    heads, head = text.num_attention_heads, getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    groups = heads // (getattr(text, "num_key_value_heads", None) or heads)
    fewer = min(heads, HEADS if groups == 1 else 2 * groups)
    _set(text, num_attention_heads=fewer, hidden_size=fewer * head)
    if getattr(text, "num_key_value_heads", None):
        text.num_key_value_heads = fewer // groups
    if getattr(text, "intermediate_size", None):
        text.intermediate_size = INNER


def _set(text: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(text, name, value)


def _built(config: Any) -> Any:
    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).float().eval()
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 1.5 / math.sqrt(parameter.shape[-1]))
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.requires_grad_(False)
    with suppress(AttributeError):
        model.generation_config.eos_token_id = None
    return model
