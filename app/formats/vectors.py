"""One vector to be written or read, and the checks that every format needs. Independent of formats, models and the database.

A layer means the same everywhere (docs/science.md, 3.7): layer l is the output of decoder block l, counted from 0, before any final
norm; the embeddings are not a layer. The module of each format says how the format writes layers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_KEY = re.compile(r"([a-z]{1,10}\[[-\d:]{1,15}\]|none)/([a-z_]{1,30})/([A-Za-z0-9._-]{1,200})/(\d{1,4})")
_LAYER = re.compile(r"layer_?(\d{1,4})")


class Unwritable(ValueError):
    """Vectors that cannot be written in this format; the message gives the reason, and names vectors that can be written."""


class Unreadable(ValueError):
    """Bytes that are not vectors in this format; the message gives the fault and its place."""


@dataclass(frozen=True, eq=False)
class NamedVector:
    """A float32 vector [D] and the known facts of its origin; None where a file lacks the fact."""

    vector: Array
    layer: int | None = None
    component: str | None = None
    method: str | None = None
    position: str | None = None
    name: str = ""

    @property
    def key(self) -> str:
        """Returns `position/component/method/layer`, with `none` for an unknown position. Raises Unwritable if another part is missing."""
        if self.layer is None or self.component is None or self.method is None:
            raise Unwritable(f"A vector without layer, component or method ({self.name or 'unnamed'}) has no key.")
        return f"{self.position or 'none'}/{self.component}/{self.method}/{self.layer}"


@dataclass(frozen=True)
class Origin:
    """What a file says about all its vectors. `architecture` is the model's class, as its facts have it (`LlamaForCausalLM`)."""

    model: str
    architecture: str = ""
    weight_hash: str | None = None
    trait: str | None = None
    trait_version: str | None = None

    def facts(self) -> dict[str, str]:
        """Returns the facts that are known, as text."""
        facts = {
            "model": self.model,
            "weight_hash": self.weight_hash,
            "trait": self.trait,
            "trait_version": self.trait_version,
        }
        return {name: value for name, value in facts.items() if value}


def labels(name: str) -> Mapping[str, Any]:
    """Returns what a tensor's name says: our own key, or `layer12`; empty for any other name."""
    key = _KEY.fullmatch(name)
    if key is not None:
        position, component, method, layer = key.groups()
        return {
            "position": None if position == "none" else position,
            "component": component,
            "method": method,
            "layer": int(layer),
        }
    plain = _LAYER.fullmatch(name)
    return {} if plain is None else {"layer": int(plain[1])}


def sound(array: NDArray[np.generic], name: str) -> Array:
    """Returns the numbers as float32 [D]. Raises Unreadable, naming the vector, for another shape and for numbers that are not a direction."""
    what = f"Vector {name[:80]!r}" if name else "The vector"
    if array.ndim != 1 or array.size == 0:
        raise Unreadable(f"{what} has the shape {list(array.shape)}; a vector has one dimension, [D].")
    with np.errstate(over="ignore"):
        vector = array.astype(np.float32)
    bad = int(vector.size - np.isfinite(vector).sum())
    if bad:
        first = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise Unreadable(f"{what} holds {bad:,} numbers that are NaN, infinite or too large for float32, the first at {first:,}.")
    if not vector.any():
        raise Unreadable(f"{what} is zero everywhere, so it has no direction.")
    return vector
