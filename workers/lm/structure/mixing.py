"""Finds which addends mix tokens, and which projections make a block's keys and values, by holding parts of a pass and changing others."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import DynamicCache, PretrainedConfig

from workers.lm.structure.recording import (
    Args,
    Named,
    Passed,
    Recording,
    first_tensor,
    handles,
    input_of,
    record,
    replaced,
    with_input,
)
from workers.lm.structure.search import Sum
from workers.lm.structure.twin import run, token_ids

STRAIGHT = 1e-4
"""Tolerance of a channel's correlation: the epsilon of a norm causes a smaller difference."""
CHANGED = 1e-6
"""Relative change above which a value counts as changed: a different order of summation causes less."""


def mixers(twin: nn.Module, blocks: Sequence[nn.Module], seen: Sequence[Recording], sums: Sequence[Sum]) -> list[set[str]]:
    """For each block the addends that still change at the last token when earlier tokens change, while the block's input at the last token and
    its other addends are held constant."""
    mixing: list[set[str]] = [set() for _ in blocks]
    other_ids = token_ids(twin, seed=1)
    for k in range(max((len(block_sum.paths) for block_sum in sums), default=0)):
        hooks: list[RemovableHandle] = []
        for block, was, block_sum in zip(blocks, seen, sums, strict=True):
            if k < len(block_sum.paths):
                hooks.append(block.register_forward_pre_hook(_last_token_held(was), with_kwargs=True))
                for path in (path for place, path in enumerate(block_sum.paths) if place != k):
                    hooks.append(block.get_submodule(path).register_forward_hook(_held(was.outputs[path])))
        with handles(hooks):
            now = record(blocks, lambda: run(twin, other_ids))
        for mixes, was, is_, block_sum in zip(mixing, seen, now, sums, strict=True):
            if k < len(block_sum.paths):
                path = block_sum.paths[k]
                if _differ(was.outputs[path][:, -1], is_.outputs[path][:, -1]):
                    mixes.add(path)
    return mixing


def raw_of(seen: Recording, path: str) -> str | None:
    """The module that makes the input of the norm `path`; `path` itself where that is not a norm; None where no module makes its input."""
    given = seen.inputs.get(path)
    if given is None or given.shape != seen.outputs[path].shape or not _normalises(given, seen.outputs[path]):
        return path
    equal = [p for p, h in seen.once().items() if p != path and not path.startswith(f"{p}.") and torch.equal(h, given)]
    return min(equal, key=lambda p: p.count("."), default=None)


def keys_and_values(
    twin: nn.Module, blocks: Sequence[nn.Module], seen: Sequence[Recording], mixing: Sequence[set[str]]
) -> list[tuple[str | None, str | None]]:
    """For each block the linear modules in its mixers that alone make its cached keys, and its cached values; None where no module does so
    (fused, shared, or made of several)."""
    held = [
        block.register_forward_pre_hook(_whole_input_held(was), with_kwargs=True) for block, was in zip(blocks, seen, strict=True)
    ]
    with handles(held):
        before = _cached(twin, blocks)
        linear = [
            _as_wide(block, mixes, before.get(layer)) for layer, (block, mixes) in enumerate(zip(blocks, mixing, strict=True))
        ]
        changes: list[list[tuple[str, bool, bool]]] = [[] for _ in blocks]
        for k in range(max(map(len, linear), default=0)):
            shaken = [(block, paths[k]) for block, paths in zip(blocks, linear, strict=True) if k < len(paths)]
            with handles([block.get_submodule(path).register_forward_hook(_shaken) for block, path in shaken]):
                now = _cached(twin, blocks)
            for layer, paths in enumerate(linear):
                if k < len(paths) and layer in now:
                    keys, values = (_differ(a, b) for a, b in zip(before[layer], now[layer], strict=True))
                    changes[layer].append((paths[k], keys, values))
    return [
        (
            _only(block, [path for path, keys, values in rows if keys and not values], before.get(layer, (None, None))[0]),
            _only(block, [path for path, keys, values in rows if values and not keys], before.get(layer, (None, None))[1]),
        )
        for layer, (block, rows) in enumerate(zip(blocks, changes, strict=True))
    ]


def _as_wide(block: nn.Module, mixes: set[str], cached: tuple[Tensor, Tensor] | None) -> list[str]:
    """Linear modules with the width of all cached heads together: of the mixers, or of the whole block where the addend is a norm or a last
    projection."""
    if cached is None:
        return []
    widths = {h.shape[1] * h.shape[3] for h in cached if h.ndim == 4}
    whole = any(not any(block.get_submodule(path).children()) for path in mixes)
    return [
        path
        for path, module in block.named_modules()
        if isinstance(module, nn.Linear)
        and module.out_features in widths
        and (whole or any(path.startswith(f"{outer}.") for outer in mixes))
    ]


def _only(block: nn.Module, paths: list[str], cached: Tensor | None) -> str | None:
    """The only one of the modules at `paths` that is as wide as all cached heads together; None where there are several or none."""
    if cached is None or cached.ndim != 4:
        return None
    width = cached.shape[1] * cached.shape[3]
    wide = [path for path in paths if block.get_submodule(path).out_features == width]
    return wide[0] if len(wide) == 1 else None


class _Watched(DynamicCache):  # type: ignore[misc]
    """The library's cache, which also keeps the keys and values that each layer gives it."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config=config)
        self.given: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Passed, **kwargs: Passed
    ) -> tuple[Tensor, Tensor]:
        self.given[layer_idx] = key_states.clone(), value_states.clone()
        attended: tuple[Tensor, Tensor] = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        return attended


def _cached(twin: nn.Module, blocks: Sequence[nn.Module]) -> dict[int, tuple[Tensor, Tensor]]:
    try:
        cache = _Watched(twin.config)
        run(twin, token_ids(twin), cache=cache)
    except Exception:  # a model with its own kind of cache has no keys and values to read here
        return {}
    return {layer: pair for layer, pair in cache.given.items() if layer < len(blocks) and all(h.numel() for h in pair)}


def _last_token_held(was: Recording) -> Callable[..., Passed]:
    def hook(_module: nn.Module, args: Args, kwargs: Named) -> tuple[Args, Named]:
        h_BTD = input_of(args, kwargs).clone()
        h_BTD[:, -1] = was.input_BTD[:, -1]  # type: ignore[index]
        return with_input(args, kwargs, h_BTD)

    return hook


def _whole_input_held(was: Recording) -> Callable[..., Passed]:
    def hook(_module: nn.Module, args: Args, kwargs: Named) -> tuple[Args, Named]:
        assert was.input_BTD is not None
        return with_input(args, kwargs, was.input_BTD.clone())

    return hook


def _held(h_BTD: Tensor) -> Callable[..., Passed]:
    return lambda _module, _inputs, output: replaced(output, h_BTD.clone().view_as(first_tensor(output)))  # type: ignore[arg-type]


def _shaken(_module: nn.Module, _inputs: Args, output: Passed) -> Passed:
    tensor = first_tensor(output)
    assert tensor is not None
    return replaced(output, tensor + torch.linspace(-1, 1, tensor.shape[-1], dtype=tensor.dtype).sin() * (1 + tensor.abs()))


def _normalises(given_BTD: Tensor, made_BTD: Tensor) -> bool:
    """Whether each output channel is a linear function of that channel of the input divided by the token's size (with or without subtracting its
    mean): then the module is a norm, whatever its name."""
    made_ND = made_BTD.flatten(0, -2)
    given_ND = given_BTD.flatten(0, -2)
    for centred_ND in (given_ND, given_ND - given_ND.mean(-1, keepdim=True)):
        along = torch.stack([_standard(centred_ND / centred_ND.norm(dim=-1, keepdim=True)), _standard(made_ND)])
        if float((along[0] * along[1]).sum(0).abs().min()) > 1 - STRAIGHT:
            return True
    return False


def _standard(h_ND: Tensor) -> Tensor:
    """Each channel centred over tokens, of length 1."""
    h_ND = h_ND - h_ND.mean(0)
    size_D: Tensor = h_ND.norm(dim=0)
    return h_ND / size_D.clamp_min(1e-300)


def _differ(one: Tensor, other: Tensor, limit: float = CHANGED) -> bool:
    return one.shape != other.shape or float((one - other).norm()) > limit * float(one.norm())
