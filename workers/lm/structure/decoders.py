"""Locates the text decoder of a live model and the list of its blocks, by position: the part that embeds tokens and holds the list.

Also works inside wrappers for images or audio, because their towers hold no token embedding.
"""

import hashlib
import json

from torch import nn
from transformers import PretrainedConfig

from workers.lm.errors import ModelFault, first_few


def find_decoder(model: nn.Module) -> nn.Module:
    """The smallest part of `model` that holds both its token embedding and a list of as many blocks as its text config has layers.

    Raises ModelFault unknown_architecture, naming the modules at the model's top.
    """
    try:
        embedding = model.get_input_embeddings()  # type: ignore[operator]
        n_layers = text_config(model).num_hidden_layers
    except (AttributeError, NotImplementedError, ValueError) as error:
        raise not_a_decoder(model, f"it names no token embedding or no number of layers ({error})") from error
    parts = [part for part in model.modules() if part is not model and hasattr(part, "config") and _lists(part, n_layers)]
    parts = [part for part in parts if any(module is embedding for module in part.modules())]
    if not parts:
        raise not_a_decoder(model, "no part of it holds both a token embedding and a list of its layers")
    return min(parts, key=lambda part: sum(1 for _ in part.modules()))


def blocks_of(decoder: nn.Module) -> list[nn.Module]:
    """The decoder's blocks in order. Raises ModelFault unknown_architecture where several lists could be meant."""
    n_layers = text_config(decoder).num_hidden_layers
    lists = _lists(decoder, n_layers)
    lists = [blocks for blocks in lists if all(any(block.children()) for block in blocks)] or lists
    if len(lists) != 1:
        raise not_a_decoder(decoder, f"it has {len(lists)} lists of {n_layers} layers, where one was expected")
    return list(lists[0])


def text_config(model: nn.Module) -> PretrainedConfig:
    """The text model's config, also when it lies inside a wrapper."""
    return model.config.get_text_config()  # type: ignore[union-attr,operator]


def described(config: PretrainedConfig) -> str:
    """The config as JSON without the path of its files: equal for models of the same shape."""
    values = json.loads(config.to_json_string(use_diff=False))
    values.pop("_name_or_path", None)
    return json.dumps(values)


def kind_of(block: nn.Module) -> str:
    """A short string that is equal for blocks built of the same modules in the same places."""
    parts = ";".join(f"{path}:{type(module).__name__}" for path, module in block.named_modules())
    return f"{type(block).__name__}-{hashlib.sha256(parts.encode()).hexdigest()[:12]}"


def not_a_decoder(model: nn.Module, why: str) -> ModelFault:
    """The fault for a model with parts that cannot be told apart."""
    modules = first_few((f"{name} ({type(child).__name__})" for name, child in model.named_children()), limit=12)
    return ModelFault(
        "unknown_architecture", f"{type(model).__name__} cannot be read: {why}. Modules found at its top: {modules or 'none'}."
    )


def _lists(part: nn.Module, n_layers: int) -> list[nn.ModuleList]:
    return [child for child in part.children() if isinstance(child, nn.ModuleList) and len(child) == n_layers > 0]
