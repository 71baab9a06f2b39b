"""Marking results that went by different rules of massive dims: lists, shares and doses of two rules are not the same quantity."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from terms.massive import present_name, rule_of
from workers.reports.gathered import Cell, Gathered
from workers.reports.table import Column, Table

UNKNOWN = "not recorded"


def rules_of(data: Gathered) -> dict[tuple[str, str | None], str]:
    """By model and trait, and by model alone (trait None), every rule that its numbers went by."""
    found: dict[tuple[str, str | None], set[str]] = {}
    for model, aggregate in data.calibrations.items():
        found.setdefault((model, None), set()).add(rule_of(aggregate))
    for cell in data.cells:
        own = _rules_of(cell, data.calibrations.get(cell.model))
        found.setdefault((cell.model, cell.trait), set()).update(own)
        found.setdefault((cell.model, None), set()).update(own)
    return {key: " and ".join(sorted(rules)) for key, rules in found.items() if rules}


def _rules_of(cell: Cell, calibration: Mapping[str, Any] | None) -> set[str]:
    """Of an extraction and a steering; one of schema 1 does not say, and went by the calibration beside it."""
    known = UNKNOWN if calibration is None else rule_of(calibration)
    rules = set()
    if cell.extraction is not None:
        described = cell.extraction.get("provenance", {}).get("calibration")
        rules |= {present_name(described["rule"])} if described else set()
    if cell.steering is not None:
        rules.add(cell.steering.get("massive_rule", known))
    return rules


def marked(table: Table, rules: Mapping[tuple[str, str | None], str]) -> Table:
    """The table, with a column of rules where the report's results went by several."""
    keys = [column.key for column in table.columns]
    if len(set(rules.values())) < 2 or "model" not in keys or "rule" in keys:
        return table
    columns = list(table.columns)
    columns.insert(keys.index("model") + 1, Column("rule", "massive dims by"))
    rows = [{**row, "rule": rules.get((row["model"], row.get("trait"))) or rules.get((row["model"], None))} for row in table.rows]
    note = f"{table.note} Massive dims, and doses with them, go by different rules in some rows: such rows are not comparable."
    return replace(table, columns=columns, rows=rows, note=note)
