"""Marks rows that are not comparable: different rules of massive dims, or texts that were encoded into different ids.

Lists, shares and doses of two rules are different quantities, and a text with different ids is a different text.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from binnacle.words.massive import present_name, rule_of
from terms.documents.calibration import Aggregate
from terms.documents.provenance import Reading
from workers.reports.gathered import Cell, Gathered
from workers.reports.table import Column, Row, Table

UNKNOWN = "not recorded"
UNPROVED = "not proved"
Values = dict[tuple[str, str | None], set[str]]
"""The rules or readings behind a row's numbers: by model and trait, and by model alone (trait None)."""


@dataclass(frozen=True)
class Mark:
    """A column for every table that names a model, and the sentence below these tables."""

    key: str
    title: str
    note: str
    values: Values


def marks_of(data: Gathered) -> list[Mark]:
    """The marks that a report needs. Empty if all results used one rule, and each model was proved and read its texts in the same way."""
    rules, readings = _rules(data), _readings(data)
    marks = []
    if len(set().union(*rules.values())) > 1:
        note = "Massive dims, and doses with them, follow different rules in some rows: such rows are not comparable."
        marks.append(Mark("rule", "massive dims by", note, rules))
    if any(len(names) > 1 or UNPROVED in names for names in readings.values()):
        note = (
            "In some rows the model was not proved, or its tokenizer, prompts, ends of answers or masks were "
            "changed between two jobs: such rows are not comparable. Make them again."
        )
        marks.append(Mark("reading", "texts read as", note, readings))
    return marks


def marked(table: Table, marks: Sequence[Mark]) -> Table:
    """The table with a column for each mark that it does not have yet."""
    for mark in marks:
        keys = [column.key for column in table.columns]
        if "model" not in keys or mark.key in keys:
            continue
        columns = list(table.columns)
        columns.insert(keys.index("model") + 1, Column(mark.key, mark.title))
        rows = [{**row, mark.key: _named(mark.values, row)} for row in table.rows]
        table = replace(table, columns=columns, rows=rows, note=f"{table.note} {mark.note}")
    return table


def _named(values: Values, row: Row) -> str | None:
    model, trait = str(row["model"]), row.get("trait")
    names = values.get((model, trait if isinstance(trait, str) else None)) or values.get((model, None))
    return " and ".join(sorted(names)) if names else None


def _rules(data: Gathered) -> Values:
    rules: Values = defaultdict(set)
    for model, aggregate in data.calibrations.items():
        rules[model, None].add(rule_of(aggregate))
    for cell in data.cells:
        names = set(_rules_of(cell, data.calibrations.get(cell.model)))
        rules[cell.model, cell.trait] |= names
        rules[cell.model, None] |= names
    return {key: names for key, names in rules.items() if names}


def _rules_of(cell: Cell, calibration: Aggregate | None) -> Iterator[str]:
    """The rules of an extraction and a steering; files of schema 1 do not name a rule and used that of their calibration."""
    described = cell.extraction.get("provenance", {}).get("calibration") if cell.extraction is not None else None
    if described:
        yield present_name(described["rule"])
    if cell.steering is not None:
        yield cell.steering.get("massive_rule", UNKNOWN if calibration is None else rule_of(calibration))


def _readings(data: Gathered) -> Values:
    """The hashes of how texts were read, by model and trait. The calibration counts for each trait of its model, because
    doses are measured in its norms."""
    readings: Values = defaultdict(set)
    for model, provenance in data.provenance.items():
        readings[model, None].add(_reading(provenance))
    for cell in data.cells:
        documents = [document for document in (cell.extraction, cell.steering) if document is not None]
        names = {_reading(document.get("provenance", {})) for document in documents}
        if cell.model in data.provenance:
            names.add(_reading(data.provenance[cell.model]))
        readings[cell.model, cell.trait] |= names
        readings[cell.model, None] |= names
    return {key: names for key, names in readings.items() if names}


def _reading(provenance: Reading) -> str:
    reading_hash: str | None = provenance.get("reading_hash")
    return reading_hash[:12] if reading_hash else UNPROVED
