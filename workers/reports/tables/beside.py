"""Tables of the reference system's protocol on the same vectors, and of published numbers, next to the study's own numbers."""

from collections.abc import Sequence

from binnacle.words.counting import counted
from terms.methods import is_ablation
from terms.specs import PublishedSpec
from workers.reports.gathered import Cell, Gathered
from workers.reports.table import Cells, Column, Row, Table
from workers.reports.tables.gains import EFFECT, method_name, points


def protocol(data: Gathered) -> Table:
    """Every method as the reference compares it, then at the same coefficient and at equal dose on held-out questions."""
    rows: list[Row] = []
    notes = []
    for cell in data.cells:
        reference = cell.steering.get("reference_protocol") if cell.steering else None
        if not reference or cell.steering is None:
            continue
        groups = {group["group"]: group for group in cell.steering["groups"]}
        notes.append(f"{counted(reference['questions'], 'question')} on {cell.trait}")
        for tried in reference["rows"]:
            group = groups.get(tried["group"])
            if group is None or is_ablation(group["method"]):
                continue
            rows.append(
                {
                    "model": cell.model, "trait": cell.trait, "method": method_name(group, cell.steering), "c": tried["c"],
                    "reference": tried["delta"], "reference_from": cell.texts(tried), "coherence": tried["coherence"],
                    **points(cell, "held_out", group["matched"].get("coefficient")),
                    **points(cell, "equal_dose", group["matched"].get("dose")),
                }
            )  # fmt: skip
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("method", "method"),
        Column("c", "coefficient", "number"),
        Column("coherence", "coherence", "number"),
        Column("reference", "gain, the reference's way", "points"),
        Column("held_out", "held out, at the shared coefficient", "points"),
        Column("equal_dose", "held out, at equal dose", "points"),
    ]
    note = (
        f"The reference's way: the best of five raw coefficients around the probe's, or the leader's where no probe was "
        "steered, chosen and reported on the same questions "
        f"({', '.join(dict.fromkeys(notes))}), coherence at least the threshold, no interval. {EFFECT}"
    )
    return Table("reference", "The reference's own protocol", note, columns, rows)


def published(data: Gathered, numbers: Sequence[PublishedSpec]) -> Table:
    """Published numbers with their definitions, and this study's own for the same model, trait, method and position."""
    cells = {(cell.model, cell.trait.split("@")[0]): cell for cell in data.cells}
    rows: list[Row] = []
    for spec in numbers:
        cell = cells.get((spec["model"], spec["trait"].split("@")[0]))
        row = {key: spec[key] for key in ("model", "trait", "method", "position", "value", "coefficient", "definition", "source")}
        rows.append({**row, **(_own(cell, spec) if cell else {})})
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("method", "method"),
        Column("position", "position"),
        Column("value", "published", "points"),
        Column("coefficient", "at coefficient", "number"),
        Column("own", "here: best dose, held out", "points"),
        Column("own_reference", "here: the reference's way", "points"),
        Column("definition", "what was published"),
        Column("source", "source"),
    ]
    return Table("published", "Published numbers", f"Others' numbers as they define them. {EFFECT}", columns, rows)


def _own(cell: Cell, spec: PublishedSpec) -> Cells:
    if cell.steering is None:
        return {}
    group = next(
        (g for g in cell.steering["groups"] if g["method"] == spec["method"] and g["position"] in (None, spec["position"])), None
    )
    if group is None:
        return {}
    protocol = cell.steering.get("reference_protocol")
    tried = [] if protocol is None else protocol.get("rows", [])
    ours = next((row["delta"] for row in tried if row["group"] == group["group"]), None)
    return {**points(cell, "own", group["best"]), "own_reference": ours}
