"""Tables of what massive dims do to steering: zeroing them (the cleaning ablation), and steering with them alone (the decomposition)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from binnacle.words.massive import massive_at
from terms.documents.calibration import Aggregate
from terms.documents.steering import Summary
from terms.methods import UnknownMethod, is_ablation, parse_method
from workers.reports.gathered import Cell, Gathered
from workers.reports.table import Cells, Column, Table
from workers.reports.tables.gains import DOSES, EFFECT, at_one_dose, method_name, points, steered


def cleaning(data: Gathered) -> Table:
    """The effect of zeroing N dims, compared with zeroing N other dims."""
    rows = [
        row
        for cell in data.cells
        if cell.steering
        for row in _cleaning_rows(cell, cell.steering, data.calibrations.get(cell.model))
    ]
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("base", "method"),
        Column("layer", "layer"),
        Column("n", "dims zeroed", "number"),
        Column("massive", "of them massive", "number"),
        Column("top", "largest ratio, after the fit", "points"),
        Column("pretop", "largest ratio, before the fit", "points"),
        Column("randomdims", "random other dims", "points"),
        Column("largest", "largest weight outside the massive list", "points"),
    ]
    note = f"{EFFECT} Dims are zeroed in the order of their ratio_to_median at the layer, whether massive or not. {DOSES}"
    return Table("cleaning", "Cleaning ablation", note, columns, rows)


def _cleaning_rows(cell: Cell, summary: Summary, calibration: Aggregate | None) -> Iterator[Cells]:
    rows: dict[
        tuple[str, tuple[int, ...], int], Cells
    ] = {}  # by the base method at its place, its layers, and the number of dims
    for group in summary["groups"]:
        try:
            method = parse_method(group["method"])
        except UnknownMethod:
            continue
        if method.base not in ("mean_diff", "probe") or method.suffix in ("cleaned", "preclean"):
            continue
        base, layers = method_name(group, summary, replace(method, suffix="", top=0).key), tuple(group["layers"])
        massive = _massive_among_first(calibration, layers, method.top)
        row = rows.setdefault(
            (base, layers, method.top),
            {"base": base, "layer": "+".join(map(str, layers)), "n": method.top, "massive": massive},
        )
        for suffix in [method.suffix] if method.suffix else ["top", "pretop", "randomdims", "largest"]:
            row.update(points(cell, suffix, at_one_dose(group, summary)))
    for key in sorted(rows):
        if any(n > 0 for base, _, n in rows if base == key[0]):
            yield {"model": cell.model, "trait": cell.trait, **rows[key]}


def _massive_among_first(calibration: Aggregate | None, layers: Sequence[int], n: int) -> int | None:
    """The number of a layer's first `n` dims by ratio_to_median that are in its massive list, which need not be the first dims of that order."""
    order = None if calibration is None else calibration.get("ratio_order_by_layer", {}).get(str(layers[0]))
    if len(layers) != 1 or calibration is None or order is None:
        return None
    return len({*order[:n]} & {*massive_at(calibration, layers[0])})


def decomposition(data: Gathered) -> Table:
    """The effect of steering with the massive part of mean-based vectors alone."""
    rows = []
    for cell, summary in steered(data):
        for group in summary["groups"]:
            parts = group["decomposition"]
            if parts and not is_ablation(group["method"]):
                row: Cells = {
                    "model": cell.model,
                    "trait": cell.trait,
                    "method": method_name(group, summary),
                    "verdict": data.massive_part(parts, summary),
                }
                for arm, effect in parts["arms"].items():
                    row |= points(cell, arm, effect)
                rows.append(row)
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("method", "method"),
        Column("clean", "clean part alone", "points"),
        Column("massive", "massive part alone", "points"),
        Column("both", "both", "points"),
        Column("verdict", "the massive part is"),
    ]
    note = f"{EFFECT} Each part at the coefficient it has inside the vector, at the leader's dose."
    return Table("decomposition", "What the massive part does", note, columns, rows)
