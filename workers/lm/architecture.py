"""Locates the decoder blocks of a live model, and the modules that put out the components that the science code reads.

A `Layout` is derived from the built model (also from a model on the meta device), never from file names or class names: `structure` finds how a
block adds to the residual stream by running a small random twin of the model's config, and the passport's proof of addends confirms it on the
real weights, bit for bit.

Components (docs/science.md, 3.3), all at layer l = decoder block l, 0-based; a layer has only the components that its block has:
    residual           output of the block, before any final norm
    attn_contribution, mlp_contribution  the tensor added to the residual stream: after the post-norm where the block has one, times the
                       constant where the block multiplies by one. "attn" is the addend that mixes tokens, "mlp" an addend that does not
    attn_out, mlp_out  the same tensor before the post-norm and the constant
    k_proj, v_proj     outputs of the key / value projection, where the block has separate projections
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from terms.components import COMPONENTS, RESIDUAL_COMPONENTS
from workers.lm.errors import ModelFault, first_few
from workers.lm.structure.decoders import blocks_of, find_decoder, kind_of, text_config
from workers.lm.structure.finding import find_structure
from workers.lm.structure.values import BlockStructure, Factor, Structure


@dataclass(frozen=True)
class Terms:
    """The sum computed by a block: `kept` x input + sum of scale x output of each module, in the order in which the modules run."""

    modules: tuple[nn.Module, ...]
    scales: tuple[float, ...]
    names: tuple[str, ...]
    kept: float
    kind: str


@dataclass(frozen=True)
class Layout:
    """The parts of one model that capture and intervention attach to.

    `decoder` maps token ids to final hidden states without the LM head. The output of module `sites[l][component]`, times `scale(l,
    component)`, is that component at layer l. `terms[l]` are all addends of block l, also addends that are not components.
    """

    decoder: nn.Module
    final_norm: nn.Module | None
    sites: tuple[Mapping[str, nn.Module], ...]
    scales: tuple[Mapping[str, float], ...]
    flat: tuple[frozenset[str], ...]
    terms: tuple[Terms, ...]
    structure: Structure
    layer_class: str
    hidden_size: int

    @property
    def n_layers(self) -> int:
        """The number of the model's layers."""
        return len(self.sites)

    @property
    def components(self) -> tuple[str, ...]:
        """The components that some layer of this model has, in the order of COMPONENTS."""
        return tuple(name for name in COMPONENTS if self.layers_with(name))

    @property
    def grouped(self) -> bool:
        """Whether rows are batched by prompt length for generation, because some layer keeps state other than keys and values."""
        return self.structure.engine != "slots"

    def layers_with(self, component: str) -> list[int]:
        """The layers that have `component`."""
        return [layer for layer, sites in enumerate(self.sites) if component in sites]

    def width(self, component: str, layer: int | None = None) -> int:
        """The width D of `component`'s vectors, at `layer` or at the first layer that has the component."""
        module = self.site(self.layers_with(component)[0] if layer is None else layer, component)
        return self.hidden_size if component in RESIDUAL_COMPONENTS else int(module.out_features)  # type: ignore[arg-type]

    def is_flat(self, layer: int, component: str) -> bool:
        """Whether the module's output is [B * T, D], rows one after another, instead of [B, T, D]."""
        return component in self.flat[layer]

    def scale(self, layer: int, component: str) -> float:
        """The factor that turns the module's output into the component: 1, except for contributions in blocks that multiply by a constant."""
        return self.scales[layer].get(component, 1.0)

    def site(self, layer: int, component: str) -> nn.Module:
        """The module that outputs `component` at `layer`. Raises ModelFault layer_out_of_range, unknown_component."""
        if not 0 <= layer < self.n_layers:
            raise ModelFault("layer_out_of_range", f"Layer {layer} does not exist: the layers are 0 to {self.n_layers - 1}.")
        if component not in self.sites[layer]:
            raise ModelFault("unknown_component", self._absent(layer, component))
        return self.sites[layer][component]

    def _absent(self, layer: int, component: str) -> str:
        kind = type(self.sites[layer]["residual"]).__name__
        if layers := self.layers_with(component):
            return f"Layer {layer} ({kind}) has no {component}. Layers that have it: {first_few(map(str, layers), limit=24)}."
        return f"{self.layer_class} has no component {component!r}. It has: {', '.join(self.components)}."


def find_layout(model: nn.Module, structure: Structure | None = None) -> Layout:
    """Returns the layout of `model`, which may be on the meta device; `structure` is the result of an earlier inspection. Raises ModelFault
    unknown_architecture, naming the modules and the residue, where a block's modules do not add up to its change."""
    decoder = find_decoder(model)
    blocks = blocks_of(decoder)
    kinds = [kind_of(block) for block in blocks]
    if structure is None or not all(structure.key_of(kind, layer) for layer, kind in enumerate(kinds)):
        structure = find_structure(decoder)
    keys: list[str] = []
    for layer, kind in enumerate(kinds):
        key = structure.key_of(kind, layer)
        if key is None:
            raise ModelFault("unknown_architecture", f"No small twin of {type(model).__name__} has blocks of the kind {kind}.")
        keys.append(key)
    block_structures = [structure.blocks[key] for key in keys]
    norm = None if structure.final_norm is None else decoder.get_submodule(structure.final_norm)
    return Layout(
        decoder,
        norm,
        tuple(_sites(block, block_structure) for block, block_structure in zip(blocks, block_structures, strict=True)),
        tuple(_scales(block, block_structure) for block, block_structure in zip(blocks, block_structures, strict=True)),
        tuple(_flat(block_structure) for block_structure in block_structures),
        tuple(
            _terms(block, block_structure, key)
            for block, block_structure, key in zip(blocks, block_structures, keys, strict=True)
        ),
        structure,
        first_few(dict.fromkeys(type(block).__name__ for block in blocks), limit=4),
        int(text_config(decoder).hidden_size),
    )


def _sites(block: nn.Module, block_structure: BlockStructure) -> dict[str, nn.Module]:
    return {"residual": block} | {name: block.get_submodule(path) for name, (path, _) in block_structure.components().items()}


def _scales(block: nn.Module, block_structure: BlockStructure) -> dict[str, float]:
    return {name: _value(block, scale) for name, (_, scale) in block_structure.components().items() if scale}


def _flat(block_structure: BlockStructure) -> frozenset[str]:
    flat = {path for addend in block_structure.addends for path in addend.flat}
    return frozenset(name for name, (path, _) in block_structure.components().items() if path in flat)


def _terms(block: nn.Module, block_structure: BlockStructure, kind: str) -> Terms:
    return Terms(
        tuple(block.get_submodule(addend.path) for addend in block_structure.addends),
        tuple(_value(block, addend.scale) for addend in block_structure.addends),
        tuple(addend.path for addend in block_structure.addends),
        _value(block, block_structure.kept),
        kind,
    )


def _value(block: nn.Module, factors: Sequence[Factor]) -> float:
    """The product of the factors, read from the block's own scalars; NaN while they are on the meta device."""
    values = []
    for factor in factors:
        if isinstance(factor, str):
            owner, _, name = factor.rpartition(".")
            held = getattr(block.get_submodule(owner), name)
            values.append(math.nan if isinstance(held, Tensor) and held.is_meta else float(held))
        else:
            values.append(factor)
    return math.prod(values)
