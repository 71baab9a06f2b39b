"""Makes a small random twin of a decoder in float64. Weights and scalars that a fresh model sets to 0 or 1 get other values.

So every term has a visible effect: a scale that is 1 in a fresh model and another number in the real model would be missed. Random values are
given to parameters, to float buffers that hold only 0 and 1, and to a block's own plain floats of at least LEAST_FLOAT. The twin has the first
layers of the model, up to the first block of the last new kind, and at least two; three times as many if a twin of so few cannot run.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import Cache, PretrainedConfig

from workers.lm.errors import ModelFault
from workers.lm.shrinking import VOCABULARY, number, shrunk
from workers.lm.structure.decoders import blocks_of, kind_of, text_config
from workers.lm.structure.recording import Args, Named

Made = TypeVar("Made")
ROWS, TOKENS = 2, 20
MOST_PARAMETERS = 300_000_000
LEAST_FLOAT = 1e-3
"""Plain floats of a block below this are taken as the epsilons of its norms, and keep their values."""


def layer_types(config: PretrainedConfig) -> list[str]:
    """The config's type of each layer; empty where the config gives none."""
    types = getattr(config, "layer_types", None)
    return list(types) if isinstance(types, (list, tuple)) and len(types) == config.num_hidden_layers else []


def kinds_of(blocks: Sequence[nn.Module], config: PretrainedConfig) -> list[str]:
    """For each layer a string of its block's modules and the config's type of the layer."""
    types = layer_types(config) or [""] * len(blocks)
    return [f"{kind_of(block)} {called}" for block, called in zip(blocks, types, strict=True)]


def layers_needed(kinds: Sequence[str]) -> int:
    """The number of first layers that include every kind; at least two."""
    return max([2, *(1 + kinds.index(kind) for kind in set(kinds))])


def decoder_twin(decoder: nn.Module, blocks: Sequence[nn.Module], layers: int | None = None) -> nn.Module:
    """The twin of `decoder`, which may be on the meta device, with `layers` layers, or as many as show every kind. Raises
    ModelFault unknown_architecture when none can be built and run."""
    config = text_config(decoder)
    layers = layers or layers_needed(kinds_of(blocks, config))
    failure: Exception | None = None
    # second try: widths may depend on each other in unknown ways, so only the number of layers is reduced
    # third try: a layer may share its weights with a later layer, so there are more layers
    for narrow, depth in ((True, layers), (False, layers), (True, 3 * layers)):
        try:
            made = shrunk(config, depth, narrow=narrow)
            with torch.device("meta"):
                size = sum(p.numel() for p in type(decoder)(made).parameters())
            if size > MOST_PARAMETERS:
                raise ValueError(f"its twin would have {size:,} parameters, {MOST_PARAMETERS:,} allowed")
            twin = _built(type(decoder), made)
            run(twin, token_ids(twin))
            return twin
        except Exception as error:
            failure = failure or error
    raise ModelFault(
        "unknown_architecture",
        f"No small twin of {type(decoder).__name__} can be built and run ({str(failure)[:200]}), so how its blocks add up cannot be found.",
    )


def token_ids(twin: nn.Module, seed: int = 0) -> Tensor:
    """Random token ids [ROWS, TOKENS]; the last token of each row is the same for every seed."""
    vocabulary = min(VOCABULARY, number(text_config(twin), "vocab_size") or VOCABULARY)
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, vocabulary - 8, (ROWS, TOKENS), generator=draw)
    ids[:, -1] = torch.arange(5, 5 + ROWS)
    return ids


def run(twin: nn.Module, ids: Tensor, *, cache: Cache | None = None, **positions: Tensor) -> Tensor:
    """The twin's final hidden states [B, T, D]. `positions`: `position_ids`, where they do not follow from the cache."""
    caching = {} if cache is None else {cache_argument(twin): cache}
    with torch.no_grad(), _InDouble():
        h_BTD: Tensor = twin(input_ids=ids, use_cache=bool(caching), **caching, **positions).last_hidden_state
    return h_BTD


def cache_argument(model: nn.Module) -> str:
    """The name of the argument by which `model` takes a cache."""
    names = inspect.signature(model.forward).parameters
    return next((name for name in ("past_key_values", "cache_params") if name in names), "past_key_values")


def positions_argument(model: nn.Module, first: int, count: int) -> dict[str, Tensor]:
    """The positions of the next `count` tokens after `first` others, as an argument for models that take it: some do not derive positions from
    their cache."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return {}
    device = next(model.parameters()).device
    return {"position_ids": torch.arange(first, first + count, device=device)[None]}


class _InDouble(TorchFunctionMode):
    """Replaces float32 by float64 wherever a model requests it, so that norms and rotary factors keep all digits and match float64 weights."""

    def __torch_function__(
        self, func: Callable[..., Made], _types: Sequence[type], args: Args = (), kwargs: Named | None = None
    ) -> Made | Tensor:
        run: Callable[..., Made | Tensor] = torch.Tensor.double if func is torch.Tensor.float else func
        named = {name: torch.float64 if value is torch.float32 else value for name, value in (kwargs or {}).items()}
        if func in (torch.tensor, torch.full) and args and isinstance(args[-1], float):
            named.setdefault("dtype", torch.float64)  # the lowest float64 does not fit in float32
        return run(*(torch.float64 if value is torch.float32 else value for value in args), **named)


def constants_of(block: nn.Module) -> dict[str, float]:
    """The scalars of a block, by name: its plain floats, and parameters and buffers of one number anywhere in it."""
    floats = {name: value for name, value in vars(block).items() if type(value) is float and abs(value) >= LEAST_FLOAT}
    tensors = (*block.named_parameters(), *block.named_buffers())
    return floats | {
        name: float(t) for name, t in tensors if t.numel() == 1 and t.is_floating_point() and t.device.type != "meta"
    }


def _built(decoder_class: type[nn.Module], config: PretrainedConfig) -> nn.Module:
    """Builds the decoder of this config in float64 and gives it random values, always the same."""
    config._experts_implementation = "eager"  # the other implementations do not support float64
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        twin = decoder_class(config).double().eval()
        for parameter in twin.parameters():
            if parameter.numel() == 1:
                parameter.fill_(_constant())
            elif parameter.ndim >= 2:
                parameter.normal_(0, 1.5 / math.sqrt(parameter.shape[-1]))
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
        for buffer in twin.buffers():
            if buffer.is_floating_point() and ((buffer == 0) | (buffer == 1)).all():
                buffer.fill_(_constant()) if buffer.numel() == 1 else buffer.add_(0.2 * torch.randn_like(buffer))
        _move_floats(twin)
    return twin.requires_grad_(False)


def _move_floats(twin: nn.Module) -> None:
    """Sets each plain float of each block to a random value."""
    for block in blocks_of(twin):
        for name in [name for name, value in vars(block).items() if type(value) is float and abs(value) >= LEAST_FLOAT]:
            setattr(block, name, float(torch.empty(()).uniform_(0.55, 0.95)))  # some are dropout probabilities


def _constant() -> float:
    """Returns a random scalar away from 0 and 1."""
    return float(torch.empty(()).uniform_(0.6, 0.9) if torch.rand(()) < 0.5 else torch.empty(()).uniform_(1.1, 1.4))
