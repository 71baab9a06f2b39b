"""The structure of blocks as plain values that can be stored with a model's facts. Imports no torch.

    block output = kept x input + sum of scale_k x output of module_k

A constant is a product of `Factor`s: a number, or the name of a scalar that the block itself holds ("residual_multiplier"), so that the value is
the real model's and not the twin's. An empty product is 1.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from terms.documents.model import StructureDocument
from terms.room import Engine

Factor = str | float


@dataclass(frozen=True)
class Addend:
    """One module of a block and its factor. `mixes`: the output still changes with earlier tokens while the other addends are held constant.

    `raw` is the module that makes the input of the addend, where the addend is a norm with such a module; elsewhere `path` itself. `flat` lists
    which of the two give [B * T, D].
    """

    path: str
    mixes: bool
    scale: tuple[Factor, ...] = ()
    raw: str | None = None
    flat: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockStructure:
    """Addends in the order in which the block computes them, and the projections that make keys and values, where each has its own."""

    addends: tuple[Addend, ...]
    kept: tuple[Factor, ...] = ()
    keys: str | None = None
    values: str | None = None
    residue: float = 0.0

    def components(self) -> dict[str, tuple[str, tuple[Factor, ...]]]:
        """Maps each component except `residual` to (module, factors of its output). Of several mixers, attention is the mixer that makes
        keys."""
        components: dict[str, tuple[str, tuple[Factor, ...]]] = {}
        mixers = [addend for addend in self.addends if addend.mixes]
        keyed = [mixer for mixer in mixers if self.keys and _within(self.keys, mixer)]
        for role, group in (("attn", keyed or mixers), ("mlp", [addend for addend in self.addends if not addend.mixes])):
            if group:
                components[f"{role}_contribution"] = group[0].path, group[0].scale
                if group[0].raw is not None:
                    components[f"{role}_out"] = group[0].raw, ()
        components |= {name: (path, ()) for name, path in (("k_proj", self.keys), ("v_proj", self.values)) if path}
        return components


@dataclass(frozen=True)
class Structure:
    """The structure of all blocks. `blocks[kind]` is for each kind of block (`kind_of`), or `blocks[kind@layer]` where blocks of the same
    modules add up differently, for example by constants that grow with the layer. `engine` says how text is generated: on slots of keys and
    values, on the library's own cache, or with whole rows at each step; `slots_residue` is the difference on slots (a text where they cannot
    run), `library_residue` on the library's cache (None where slots agreed). `grows` says whether a pass on slots may have more rows after a
    block than before it."""

    blocks: Mapping[str, BlockStructure]
    final_norm: str | None
    engine: Engine
    slots_residue: float | str
    library_residue: float | str | None = None
    grows: bool = False

    def key_of(self, kind: str, layer: int) -> str | None:
        """The key in `blocks` for a block of this kind at this layer; None without an entry."""
        return next((key for key in (kind, at_layer(kind, layer)) if key in self.blocks), None)

    def to_dict(self) -> StructureDocument:
        """The structure as plain JSON values; `structure_from_dict` is the inverse."""
        document: StructureDocument = json.loads(json.dumps(asdict(self)))
        return document


def at_layer(kind: str, layer: int) -> str:
    """The key of one layer's block."""
    return f"{kind}@{layer}"


def structure_from_dict(stored: StructureDocument | None) -> Structure | None:
    """The structure that `to_dict` wrote, also after JSON made lists of its tuples. None for one of an earlier version, which does not say
    whether a pass may grow: it is found again when the model is loaded."""
    if stored is None or "grows" not in stored:
        return None
    blocks = {
        kind: BlockStructure(
            tuple(
                Addend(addend["path"], addend["mixes"], tuple(addend["scale"]), addend["raw"], tuple(addend["flat"]))
                for addend in block["addends"]
            ),
            tuple(block["kept"]),
            block["keys"],
            block["values"],
            block["residue"],
        )
        for kind, block in stored["blocks"].items()
    }
    return Structure(
        blocks,
        stored["final_norm"],
        stored["engine"],
        stored["slots_residue"],
        stored["library_residue"],
        stored["grows"],
    )


def _within(path: str, addend: Addend) -> bool:
    return any(path.startswith(f"{outer}.") for outer in (addend.path, addend.raw) if outer)
