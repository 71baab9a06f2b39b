"""Makes a small random twin of a model: every kind of its layers, but few and narrow, so that it is cheap to run.

The config is the model's own except for its sizes (`shrinking`). Weights are drawn large enough for attention to matter; a window becomes 8
tokens, so that short rows exceed it.
"""

import copy
import math
from contextlib import suppress
from dataclasses import replace

import torch
from transformers import PretrainedConfig, PreTrainedModel

from workers.lm.architecture import find_layout
from workers.lm.checkpoint import quiet
from workers.lm.model import LanguageModel
from workers.lm.shrinking import VOCABULARY, shrunk
from workers.lm.structure.twin import kinds_of, layers_needed


def small_twin(lm: LanguageModel) -> LanguageModel:
    """The twin, float32, on the model's device, with the model's tokenizer; no id ends its answers."""
    model = _smallest(lm).to(lm.device)
    config = model.config.get_text_config()
    facts = replace(lm.facts, vocab_size=config.vocab_size, layers=config.num_hidden_layers, hidden_size=config.hidden_size)
    layout = find_layout(model, lm.layout.structure)
    return replace(lm, model=model, layout=layout, dtype=torch.float32, facts=facts, eos_ids=frozenset(), pad_id=0)


def _smallest(lm: LanguageModel) -> PreTrainedModel:
    layers = layers_needed(kinds_of([sites["residual"] for sites in lm.layout.sites], lm.text_config))
    # second try: a layer may share its weights with a later layer, so there are more layers
    for depth in (layers, 3 * layers):
        with suppress(Exception):
            return _built(type(lm.model), _shrunk(lm.model.config, depth, narrow=True))
    # third try: widths may depend on each other in unknown ways, so only the number of layers is reduced
    return _built(type(lm.model), _shrunk(lm.model.config, layers, narrow=False))


def _shrunk(config: PretrainedConfig, layers: int, *, narrow: bool) -> PretrainedConfig:
    text = config.get_text_config()
    if text is config:
        return shrunk(config, layers, narrow=narrow)
    made = copy.deepcopy(config)
    made.dtype = torch.float32
    for name, value in list(vars(config).items()):
        if value is text:
            setattr(made, name, shrunk(text, layers, narrow=narrow))
        elif name.endswith("_token_id") or name.endswith("_token_index"):
            setattr(made, name, VOCABULARY - 1 if isinstance(value, int) else value)
        elif hasattr(value, "num_hidden_layers"):
            getattr(made, name).num_hidden_layers = 1
    return made


def _built(model_class: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = model_class(config).float().eval()
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 1.5 / math.sqrt(parameter.shape[-1]))
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.requires_grad_(False)
    with suppress(AttributeError):
        model.generation_config.eos_token_id = None
    return model
