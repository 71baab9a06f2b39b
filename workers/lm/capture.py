"""Reads activations while a model runs, by forward hooks that are always removed, and runs a prefill without the LM head.

Shapes: B batch rows, T positions, D width of the component (the hidden size, except for k_proj and v_proj). A reader is called with each [B, T,
D] tensor as it is computed and should reduce it at once; nothing is kept here. The product's own hooks are used because transformers'
output_hidden_states gives the last layer AFTER the final norm, and installs hooks that it never removes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workers.lm.errors import ModelFault, first_few
from workers.lm.model import LanguageModel
from workers.lm.structure.recording import Args, Passed, input_of

Reader = Callable[[int, str, Tensor], None]
_HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def reading(
    lm: LanguageModel, readers: Mapping[str, Reader], layers: Iterable[int] | None = None, *, where_present: bool = False
) -> Iterator[None]:
    """Within the block, each forward pass calls `readers[component](layer, component, tensor)` with the component's output, [B, T, D].

    Layers are called in ascending order; within a block attention comes before MLP before residual (GPT-NeoX too). The default for `layers` is
    all; `where_present` skips components that a layer lacks. The hooks are removed when the block ends, also after an exception. Raises
    ModelFault layer_out_of_range, unknown_component.
    """
    handles: list[RemovableHandle] = []
    try:
        for layer, component in _sites(lm, readers, layers, where_present):
            module, read = lm.layout.site(layer, component), readers[component]
            shape = RowsAndTokens(lm, layer, component, handles)
            handles.append(module.register_forward_hook(_hook(layer, component, read, lm.layout.scale(layer, component), shape)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def reading_once(
    lm: LanguageModel, readers: Mapping[str, Reader], layers: Iterable[int] | None = None, *, where_present: bool = False
) -> Iterator[None]:
    """`reading` for one forward pass that stops, and ends the block, once every reader has been called at every layer.

    The pass takes time in proportion to the deepest layer read: blocks above it, the final norm and the LM head are not computed.
    """
    layers = None if layers is None else list(layers)
    missing = set(_sites(lm, readers, layers, where_present))

    def counted(read: Reader) -> Reader:
        def reader(layer: int, component: str, tensor_BTD: Tensor) -> None:
            read(layer, component, tensor_BTD)
            missing.discard((layer, component))
            if not missing:
                raise Enough

        return reader

    with suppress(Enough), reading(lm, {c: counted(read) for c, read in readers.items()}, layers, where_present=where_present):
        yield


class Enough(Exception):
    """Ends a pass where everything that is read of it has been computed."""


def _sites(
    lm: LanguageModel, readers: Mapping[str, Reader], layers: Iterable[int] | None, where_present: bool
) -> list[tuple[int, str]]:
    """Returns the (layer, component) pairs to read, in order of layers."""
    wanted = range(lm.layout.n_layers) if layers is None else sorted(set(layers))
    return [
        (layer, component)
        for layer in wanted
        for component in readers
        if not where_present or layer in lm.layout.layers_with(component)
    ]


class RowsAndTokens:
    """Reshapes a site's output to [B, T, D]. Where the module gives [B * T, D], the number of rows comes from the block's input."""

    def __init__(self, lm: LanguageModel, layer: int, component: str, handles: list[RemovableHandle]) -> None:
        self._shape: list[int] = []
        if lm.layout.is_flat(layer, component):
            block = lm.layout.site(layer, "residual")
            handles.append(block.register_forward_pre_hook(self._see, with_kwargs=True))

    def __call__(self, tensor: Tensor) -> Tensor:
        return tensor.view(*self._shape, -1) if self._shape else tensor

    def _see(self, _module: nn.Module, args: Args, kwargs: Mapping[str, Passed]) -> None:
        self._shape = list(input_of(args, kwargs).shape[:-1])


def _hook(
    layer: int, component: str, read: Reader, scale: float, shape: RowsAndTokens
) -> Callable[[nn.Module, Args, Passed], None]:
    """Returns a forward hook that calls `read` with the module's output, as [B, T, D] and multiplied by `scale`."""

    def hook(_module: nn.Module, _inputs: Args, output: Passed) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        assert isinstance(tensor, Tensor)
        tensor = shape(tensor)
        read(
            layer, component, tensor if scale == 1 else tensor * scale
        )  # and return None: another value would replace the module's output

    return hook


def prefill(lm: LanguageModel, ids: Sequence[int]) -> None:
    """Runs the decoder over one row of token ids: B=1, no padding, no cache, no LM head. The activations depend on this row alone.

    Raises ModelFault empty_prompt, prompt_too_long, token_out_of_range.
    """
    lm.check_ids(ids)
    with torch.no_grad():
        lm.layout.decoder(input_ids=torch.tensor([list(ids)], device=lm.device), use_cache=False)


def assert_no_hooks(model: nn.Module) -> None:
    """Raises ModelFault hooks_left when any module still has a hook, which would read or steer the next job on this model."""
    fault = hooks_left(model)
    if fault is not None:
        raise fault


def hooks_left(model: nn.Module) -> ModelFault | None:
    """The fault of a model with hooks left on it; None without any. It was not raised, so no traceback of it keeps the model in memory."""
    left = [name or "(root)" for name, module in model.named_modules() if any(getattr(module, table) for table in _HOOK_TABLES)]
    if not left:
        return None
    return ModelFault("hooks_left", f"Hooks remain on {first_few(left)}. Unload the model before it is used again.")
