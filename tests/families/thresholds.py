"""Finds the numbers of a config from which on a model computes something else, such as the length of a window, by running plainly.

Each number alone becomes WINDOW, with the same weights. Where hidden states change, but not those of the first tokens, the number is such a
length. A twin that shows what happens beyond it has a small one.
"""

import copy
from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig

from workers.lm.shrinking import WINDOW
from workers.lm.structure.decoders import find_decoder
from workers.lm.structure.twin import run

TOKENS = 160
SAME = 1e-9
"""The relative difference of hidden states in float64 below which they are the same."""


def lengths_of(config: PretrainedConfig) -> dict[str, int]:
    """The numbers above WINDOW that change only later tokens when they become WINDOW, each with the first token that changes. Numbers with which
    no model can be built or run are left out, such as that of learned positions."""
    model = _built(config)
    state = model.state_dict()
    plain_TD = _states(model)
    lengths: dict[str, int] = {}
    for name in _numbers(config):
        changed = copy.deepcopy(config)
        vars(changed)[name] = WINDOW
        with suppress(Exception):
            other = _built(changed)
            _take(other, state)
            gap_T = (_states(other) - plain_TD).norm(dim=-1) / plain_TD.norm(dim=-1)
            first = int((gap_T > SAME).long().argmax())  # 0 also where no token changes
            if first >= WINDOW // 2:  # a width of attention alone changes all but token 0, which attends to itself
                lengths[name] = first
    return lengths


def _numbers(config: PretrainedConfig) -> Iterator[str]:
    names = (name for name, value in vars(config).items() if type(value) is int and value > WINDOW)
    return (name for name in names if not name.endswith("_token_id") and "vocab" not in name)


def _built(config: PretrainedConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    model: torch.nn.Module = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    for parameter in model.parameters():
        torch.nn.init.normal_(
            parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.1 if parameter.ndim == 1 else 1.2 * parameter.shape[-1] ** -0.5
        )
    return model.double().eval().requires_grad_(False)


def _take(model: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """Copies the part of each tensor that both models have."""
    for name, tensor in model.state_dict().items():
        part = tuple(slice(0, min(sizes)) for sizes in zip(tensor.shape, state[name].shape, strict=True))
        tensor[part] = state[name][part]


def _states(model: torch.nn.Module) -> Tensor:
    ids = torch.randint(5, 200, (1, TOKENS), generator=torch.Generator().manual_seed(1))
    return run(find_decoder(model), ids)[0]
