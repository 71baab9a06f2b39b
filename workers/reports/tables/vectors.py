"""The table of vectors: each vector's massive part, its sampling noise, how stable it is and how well it separates the classes."""

from workers.reports.gathered import Gathered
from workers.reports.table import Column, Row, Table
from workers.reports.tables.gains import method_name
from workers.science.dose import NO_CLEAN_DOSE


def vectors(data: Gathered) -> Table:
    """One row per vector that a steering chose: its massive part, sampling noise, stability and separation. A method that was steered at several
    layers has no row."""
    rows: list[Row] = []
    for cell in data.cells:
        groups = {group["group"]: group for group in cell.steering["groups"]} if cell.steering else {}
        for facts in cell.extraction["vectors"] if cell.extraction else []:
            group = groups.get(f"{facts['position']}/{facts['component']}/{facts['method']}")
            massive = facts.get("massive")
            if cell.steering is None or group is None or group["layers"] != [facts["layer"]]:
                continue
            stability, separation = facts.get("stability"), facts.get("separation")
            clean = None if massive is None else massive.get("clean_norm")
            rows.append(
                {
                    "model": cell.model,
                    "trait": cell.trait,
                    "method": method_name(group, cell.steering),
                    "layer": facts["layer"],
                    "massive": None if massive is None else massive.get("share"),
                    "noise": None if massive is None else massive.get("noise_share"),
                    "split_half": None if stability is None else stability.get("split_half_cosine"),
                    "accuracy": None if separation is None else separation.get("accuracy"),
                    "dosed": "no clean dose" if clean is not None and clean**2 < NO_CLEAN_DOSE else None,
                    "link": cell.links["extraction"],
                }
            )
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("method", "method"),
        Column("layer", "layer"),
        Column("massive", "squared norm in massive dims", "share"),
        Column("noise", "sampling noise", "share"),
        Column("split_half", "split-half cosine", "number"),
        Column("accuracy", "held-out accuracy", "number"),
        Column("dosed", "dose"),
        Column("link", "extraction", "link"),
    ]
    note = "What each chosen vector is made of. Held-out accuracy is a separation: it does not predict steering."
    return Table("vectors", "What the vectors are made of", note, columns, rows)
