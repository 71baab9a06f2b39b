"""Records the inputs and outputs of blocks and their submodules in one pass, and replaces a block's input or output for other passes.

B batch rows, T positions, D hidden size. Everything recorded is cloned: some blocks add in place. All hooks are removed when the pass ends.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Passed = Tensor | torch.dtype | str | float | Sequence["Passed"] | Mapping[str, "Passed"] | None
"""Inputs and outputs of the library's modules: tensors, numbers, flags, and tuples of these, by each class's own convention. Its caches are
passed too: mypy does not read the library, and accepts its classes as any type."""
Args = tuple[Passed, ...]
Named = dict[str, Passed]


@dataclass
class Recording:
    """One pass of one block, with submodules by their path in the block. `outputs` and `inputs` hold the first tensor that each submodule
    returned and received in its last call, in the order in which the submodules first returned; tensors of integers are left out. Outputs
    [B * T, D] with as many numbers as the residual stream are reshaped to its shape [B, T, D]; `flat` names those modules. `calls` counts the
    calls, of the block itself under the empty path."""

    input_BTD: Tensor | None = None
    output_BTD: Tensor | None = None
    outputs: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    flat: set[str] = field(default_factory=set)

    def once(self) -> dict[str, Tensor]:
        """Outputs of the submodules that ran exactly once and have the residual stream's shape."""
        assert self.input_BTD is not None
        return {p: h for p, h in self.outputs.items() if self.calls[p] == 1 and h.shape == self.input_BTD.shape}


def first_tensor(value: Passed) -> Tensor | None:
    """The tensor, or the first element of a tuple or list if that is a tensor; otherwise None."""
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def replaced(output: Passed, tensor: Tensor) -> Passed:
    """`output` with its first tensor replaced."""
    return type(output)([tensor, *output[1:]]) if isinstance(output, (tuple, list)) else tensor


@contextmanager
def handles(made: Sequence[RemovableHandle]) -> Iterator[None]:
    """Removes the hooks when the block ends."""
    try:
        yield
    finally:
        for handle in made:
            handle.remove()


def input_of(args: Args, kwargs: Mapping[str, Passed]) -> Tensor:
    """The hidden state that a block receives."""
    h_BTD = args[0] if args else kwargs["hidden_states"]
    assert isinstance(h_BTD, Tensor)
    return h_BTD


def record(blocks: Sequence[nn.Module], run: Callable[[], Tensor | None]) -> list[Recording]:
    """Runs `run` and returns the recording of each block and its submodules."""
    made = [Recording() for _ in blocks]
    hooks = []
    for block, seen in zip(blocks, made, strict=True):
        hooks.append(block.register_forward_pre_hook(_entering(seen), with_kwargs=True))
        hooks.append(block.register_forward_hook(_leaving(seen)))
        hooks += [m.register_forward_hook(_inside(seen, path), with_kwargs=True) for path, m in block.named_modules() if path]
    with handles(hooks), torch.no_grad():
        run()
    return made


def with_input(args: Args, kwargs: Named, h_BTD: Tensor) -> tuple[Args, Named]:
    """A block's arguments with the hidden state replaced."""
    return ((h_BTD, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": h_BTD})


def _entering(seen: Recording) -> Callable[..., None]:
    def hook(_module: nn.Module, args: Args, kwargs: Named) -> None:
        seen.calls[""] = seen.calls.get("", 0) + 1
        seen.input_BTD = input_of(args, kwargs).clone()

    return hook


def _leaving(seen: Recording) -> Callable[..., None]:
    def hook(_module: nn.Module, _args: Args, output: Passed) -> None:
        tensor = first_tensor(output)
        seen.output_BTD = None if tensor is None else tensor.clone()

    return hook


def _inside(seen: Recording, path: str) -> Callable[..., None]:
    def hook(_module: nn.Module, args: Args, kwargs: Named, output: Passed) -> None:
        seen.calls[path] = seen.calls.get(path, 0) + 1
        given = first_tensor(args[:1]) if args else first_tensor(list(kwargs.values())[:1])
        tensor = first_tensor(output)
        if tensor is not None and tensor.is_floating_point():
            stream = seen.input_BTD
            if stream is not None and tensor.ndim == 2 and tensor.shape == (stream[..., 0].numel(), stream.shape[-1]):
                seen.flat.add(path)
                tensor = tensor.view_as(stream)
            seen.outputs[path] = tensor.clone()
            if given is not None:
                seen.inputs[path] = given.clone()

    return hook
