"""Tables and plots of the cosines between the vectors of one layer, before and after cleaning."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terms.documents.steering import Group
from terms.methods import UnknownMethod, is_ablation, parse_method
from workers.reports import plots
from workers.reports.gathered import Cell
from workers.reports.table import Column, Row, Section, Table


@dataclass(frozen=True, eq=False)
class Compared:
    """The vectors of one layer and component by name, and their cosines, unchanged and with the massive dims set to 0 (none outside the
    residual stream).
    """

    layer: int
    names: Sequence[str]
    massive: Sequence[int]
    before: NDArray[np.float64]
    after: NDArray[np.float64]


def compared(cell: Cell) -> Compared | None:
    """Compares the vectors of the layer where the best method steers, else of the middle layer. None with fewer than two vectors."""
    if cell.extraction is None or not cell.vectors:
        return None
    layer = _layer(cell)
    component = _component(cell)  # vectors of different components have different coordinates, and may have different widths
    # the tensors in a file have no order
    in_order = [vector for vector in cell.extraction["vectors"] if vector["component"] == component]
    keys = [vector["key"] for vector in in_order if vector["layer"] == layer and _compared(vector["method"])]
    if len(keys) < 2:
        return None
    # a key is position/component/method/layer; with several positions the method alone is not unique
    names = [key.split("/")[2] for key in keys]
    if len(set(names)) < len(names):
        names = ["/".join(key.split("/")[:3]) for key in keys]
    vectors = np.stack([cell.vectors[key].astype(np.float64) for key in keys])
    massive = next((facts["dims"] for vector in in_order if vector["layer"] == layer and (facts := vector.get("massive"))), [])
    return Compared(layer, names, massive, cosines(vectors), cosines(cleaned(vectors, massive)))


def sections(cell: Cell) -> Iterator[Section]:
    """A table and a heat map of the result of `compared`."""
    comparison = compared(cell)
    if comparison is None:
        return
    names = comparison.names
    yield {"table": _table(cell, comparison)}
    rows: list[Row] = [
        {"a": names[i], "b": names[j], "cosine": round(float(matrix[i, j]), 4), "which": which}
        for which, matrix in (("before cleaning", comparison.before), ("after cleaning", comparison.after))
        for i in range(len(names))
        for j in range(len(names))
    ]
    note = f"Layer {comparison.layer}. Cleaning sets the massive dims ({', '.join(map(str, comparison.massive)) or 'none'}) to 0."
    yield {"title": f"{cell.trait} on {cell.model}: cosines", "note": note, "plot": plots.cosines(rows, names)}


def cosines(vectors_KD: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosines [K, K]; 0 where a vector is zero."""
    norms = np.linalg.norm(vectors_KD, axis=1, keepdims=True)
    unit = np.divide(vectors_KD, norms, out=np.zeros_like(vectors_KD), where=norms > 0)
    return np.asarray(unit @ unit.T)


def cleaned(vectors_KD: NDArray[np.float64], massive: Sequence[int]) -> NDArray[np.float64]:
    """The vectors with the massive dims set to 0."""
    out = vectors_KD.copy()
    out[:, list(massive)] = 0
    return out


def _compared(method: str) -> bool:
    try:
        parsed = parse_method(method)
    except UnknownMethod:
        return True  # a name this version does not know is shown, not hidden
    return parsed.base not in ("random", "shuffled") and not is_ablation(method) and not parsed.parameters.get("refit")


def _leader(cell: Cell) -> Group | None:
    if cell.steering is None:
        return None
    return next((group for group in cell.steering["groups"] if group["group"] == cell.steering["leader"]), None)


def _layer(cell: Cell) -> int:
    assert cell.extraction is not None
    layers: list[int] = cell.extraction["layers"]
    leader = _leader(cell)
    return leader["layers"][0] if leader is not None and len(leader["layers"]) == 1 else layers[len(layers) // 2]


def _component(cell: Cell) -> str:
    assert cell.extraction is not None
    leader = _leader(cell)
    return cell.extraction["vectors"][0]["component"] if leader is None else leader["component"]


def _table(cell: Cell, comparison: Compared) -> Table:
    rows = [
        {"method": name}
        | {other: f"{comparison.before[i, j]:z.3f} / {comparison.after[i, j]:z.3f}" for j, other in enumerate(comparison.names)}
        for i, name in enumerate(comparison.names)
    ]
    return Table(
        f"cosines-{cell.model}-{cell.trait}",
        f"Cosines: {cell.trait} on {cell.model}",
        f"Cosine between vectors at layer {comparison.layer}: before / after the massive dims are set to 0.",
        [Column("method", "method"), *(Column(name, name) for name in comparison.names)],
        rows,
    )
