"""Converts a .pt file of vectors into a file that the service reads. The service never reads pickles; this runs on the user's machine and
loads only tensors.

    a tensor [D]                          one vector; its layer from a file name like layer12.pt, else from the request
    a tensor [layers, D]                  one vector per layer
    a tensor [layers + 1, D]              the same after the embeddings, which are skipped (persona_vectors)
    {layer: tensor}                       by number, by `layer12`, or by a module's name like model.layers.12
    {module: {"steering_vector": [1, D]}} lm-evaluation-harness' `steered` models
    a SteeringVector                      of the package steering-vectors, which need not be installed
    .../{position}/{component}/{method}/layerN.pt    trait-interp's folders, which give the other fields

Layer N is the output of block N, counted from 0. Needs torch, from the client's extra `[pt]`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from binnacle.errors import BinnacleError
from binnacle.words.counting import counted

Array = np.ndarray[Any, np.dtype[np.float32]]

_LAYER = re.compile(r"(?:layer_?)?(\d{1,4})|(?:.*\.)?(?:layers|h|blocks|block)\.(\d{1,4})", re.IGNORECASE)
PLACES = {"residual", "attn_contribution", "mlp_contribution", "attn_out", "mlp_out", "k_proj", "v_proj"}
"""The service's components (`terms/components.py`, which the client cannot import)."""
_KINDS = {"decoder_block": "residual", "self_attn": "attn_out", "mlp": "mlp_out"}
"""Names of components in steering-vectors, and their names here."""


class SteeringVector:
    """A stand-in for the class of the package steering-vectors: `layer_activations` by layer, and `layer_type`. Contains no code to run."""

    layer_activations: dict[int, Any]
    layer_type: str


@dataclass
class Converted:
    """A file for the service: its name and bytes, the request's fields given by the .pt file and its folder, and notes on the conversion."""

    name: str
    data: bytes
    fields: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Named:
    """Vectors by name, with their layer if known."""

    vectors: list[tuple[str, int | None, Array]]
    fields: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def converted(file: Path, *, count: int | None = None, layers: Sequence[int] | None = None) -> Converted:
    """Converts the vectors of a .pt file. count: the model's number of layers, to interpret rows. layers: the layers to take, or of the rows.

    Raises BinnacleError without torch, for a file that contains anything but tensors, and for rows without a known layer.
    """
    held = _loaded(file)
    if isinstance(held, SteeringVector):
        named = _of_steering_vectors(file, held)
    elif isinstance(held, dict):
        named = _of_names(file, held, count, layers)
    else:
        named = _of_tensor(file, _array(file, held), count, layers)
    named.fields = {**_said_by_folders(file), **named.fields}
    return _written(file, named, layers)


def _loaded(file: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise BinnacleError(
            "needs_torch",
            f"Reading {file.name} needs torch, which is not installed here. Install it: pip install 'binnacle-interp-client[pt]'",
        ) from error
    try:
        with torch.serialization.safe_globals([(SteeringVector, "steering_vectors.steering_vector.SteeringVector")]):
            held = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BinnacleError("bad_pt", f"{file} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch raises many types of errors for files that are damaged or contain code
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BinnacleError("bad_pt", f"{file} cannot be read as tensors: {reason}") from error
    if not isinstance(held, torch.Tensor | dict | SteeringVector):
        raise BinnacleError("bad_pt", f"{file} holds neither a tensor nor a dictionary of tensors.")
    return held


def _array(file: Path, tensor: Any) -> Array:
    if tensor.is_complex() or str(tensor.layout) != "torch.strided" or tensor.is_meta:
        raise BinnacleError(
            "bad_pt", f"{file} holds a tensor that is sparse, complex or without content. Save real, dense tensors."
        )
    return np.asarray(tensor.detach().float().numpy(), dtype=np.float32)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "shape")


def _of_tensor(file: Path, rows: Array, count: int | None, layers: Sequence[int] | None) -> _Named:
    """Returns one vector, or one per row."""
    if rows.ndim == 1 or (rows.ndim == 2 and len(rows) == 1):
        return _Named([(file.stem, _layer_of(file.stem), rows.reshape(-1))])
    if rows.ndim != 2:
        raise BinnacleError("bad_pt", f"{file} holds a tensor of shape {list(rows.shape)}; vectors are [D] or [layers, D].")
    if layers is not None and len(layers) == len(rows):
        return _Named([(f"row {i:04d}", layer, row) for i, (layer, row) in enumerate(zip(layers, rows, strict=True))])
    if count is None or len(rows) not in (count, count + 1):
        known = (
            ""
            if count is None
            else f"; the model has {count} layers, so {count} rows or {count + 1} (the embeddings first) can be placed"
        )
        raise BinnacleError(
            "rows_without_layers", f"{file} holds {counted(len(rows), 'row')}{known}. Name the layer of each row with --layers."
        )
    skipped = len(rows) - count
    notes = ["Row 0, the embeddings, was left out; row N + 1 is layer N."] if skipped else ["Row N was taken as layer N."]
    return _Named([(f"row {i + skipped:04d}", i, row) for i, row in enumerate(rows[skipped:])], notes=notes)


def _of_names(file: Path, held: Mapping[Any, Any], count: int | None, layers: Sequence[int] | None) -> _Named:
    """Returns tensors by name or number; those of lm-evaluation-harness are one level deeper."""
    tensors, left = {}, []
    for name, value in held.items():
        inner = value.get("steering_vector") if isinstance(value, dict) else value
        if _is_tensor(inner):
            tensors[name] = _array(file, inner)
            left += [f"{name}.{key}" for key in value if key != "steering_vector"] if isinstance(value, dict) else []
        else:
            left.append(str(name))
    notes = [f"Left out: {', '.join(map(str, left[:20]))}."] if left else []
    if not tensors:
        raise BinnacleError("bad_pt", f"{file} holds neither a tensor nor a dictionary of tensors.")
    if len(tensors) == 1 and next(iter(tensors.values())).ndim == 2 and len(next(iter(tensors.values()))) > 1:
        named = _of_tensor(file, next(iter(tensors.values())), count, layers)
        return _Named(named.vectors, notes=named.notes + notes)
    if len({str(name) for name in tensors}) < len(tensors):
        raise BinnacleError("bad_pt", f"{file} names a tensor both by a number and by the same number as text. Keep one of them.")
    for name, array in tensors.items():
        if array.ndim != 1 and array.shape[:-1] != (1,):
            raise BinnacleError("bad_pt", f"{file}: {name} has the shape {list(array.shape)}; a vector is [D] or [1, D].")
    return _Named([(str(name), _layer_of(str(name)), array.reshape(-1)) for name, array in tensors.items()], notes=notes)


def _of_steering_vectors(file: Path, held: SteeringVector) -> _Named:
    activations, kind = vars(held).get("layer_activations"), vars(held).get("layer_type", "decoder_block")
    if not isinstance(activations, dict) or kind not in _KINDS:
        raise BinnacleError("bad_pt", f"{file} holds a SteeringVector of the type {kind!r}; {', '.join(_KINDS)} can be imported.")
    named = _of_names(file, activations, None, None)
    named.fields["component"] = _KINDS[kind]
    return named


def _layer_of(name: str) -> int | None:
    match = _LAYER.fullmatch(name)
    return None if match is None else int(match[1] or match[2])


def _said_by_folders(file: Path) -> dict[str, str]:
    """Returns position, component and method if the file is in trait-interp's folders."""
    method, component, position = [*reversed(file.resolve().parent.parts), "", "", ""][:3]
    if component not in PLACES:
        return {}
    said = {"component": component, "method": method}
    frame, _, window = position.partition("_")
    if frame in ("prompt", "response", "all") and re.fullmatch(r"all|-?\d+|_-?\d+", window):
        said["position"] = f"{frame}[{':' if window == 'all' else window.replace('_', ':')}]"
    return said


def _written(file: Path, named: _Named, layers: Sequence[int] | None) -> Converted:
    """Returns a safetensors file with vectors named by layer, or by name if the request gives the layers."""
    from safetensors.numpy import save

    zero = [name for name, _, vector in named.vectors if not vector.any()]
    kept = [triple for triple in named.vectors if triple[0] not in zero]
    if zero:
        named.notes.append(
            f"Left out, because they are zero everywhere: {', '.join(zero[:20])}{', ...' if len(zero) > 20 else ''}."
        )
    known = [layer for _, layer, _ in kept if layer is not None]
    if kept and len(known) == len(kept) == len(set(known)):
        without = {layer for name, layer, _ in named.vectors if name in zero}
        wanted = layers if layers is None else [layer for layer in layers if layer in known or layer not in without]
        by_layer = _chosen(file, {layer: vector for _, layer, vector in kept if layer is not None}, wanted)
        tensors = {f"layer{layer}": vector for layer, vector in by_layer.items()}
    else:
        tensors = {name: vector for name, _, vector in kept}
        named.fields |= {} if layers is None else {"vector_layers": _by_name(named.vectors, tensors, layers)}
    if not tensors:
        raise BinnacleError("bad_pt", f"{file} holds no vector to import that is not zero everywhere.")
    return Converted(f"{file.stem}.safetensors", save(tensors), named.fields, named.notes)


def _by_name(vectors: Sequence[tuple[str, int | None, Array]], kept: Mapping[str, Array], layers: Sequence[int]) -> list[int]:
    """Returns the layers of the kept vectors, given in the file's order, in the order of the names, in which the service reads them."""
    names = [name for name, _, _ in vectors]
    if len(layers) != len(names):
        names = [name for name in names if name in kept]
    if len(layers) != len(names):
        return list(layers)  # the service refuses them, with both counts
    return [layer for name, layer in sorted(zip(names, layers, strict=True)) if name in kept]


def _chosen(file: Path, by_layer: dict[int, Array], layers: Iterable[int] | None) -> dict[int, Array]:
    wanted = sorted(by_layer) if layers is None else list(layers)
    absent = [layer for layer in wanted if layer not in by_layer]
    if absent and len(by_layer) == len(wanted) == 1:
        known = next(iter(by_layer))
        raise BinnacleError("contradicts_file", f"{file} says that its vector is of layer {known}; --layers says {wanted[0]}.")
    if absent:
        raise BinnacleError(
            "no_such_layer", f"{file} holds no vector of layer {absent[0]}; it has {', '.join(map(str, sorted(by_layer)))}."
        )
    return {layer: by_layer[layer] for layer in wanted}
