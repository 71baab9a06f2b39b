"""One table of a report: columns, rows, a note that defines its numbers. JSON, Markdown, HTML and the terminal all show the same table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict, final
from urllib.parse import quote

from binnacle.words.rounding import digits, limits
from binnacle.words.visible import visible
from terms.documents.study import PlotDocument, TableDocument

Value = str | int | float | Sequence[float | None] | None
"""A value of a row: a text, a number, or several (dims, a dose at several layers); None where it is missing. The `kind` of its column says
which."""
Cells = dict[str, Value]
"""Values by key, from which a row is put together."""
Row = Mapping[str, Value]
MISSING = "–"
"""What people see in place of a missing value."""


@dataclass(frozen=True)
class Column:
    """A column of `kind`: text, points (signed, one decimal, with `low` and `high` in the same row when the key has them), number, share, dims,
    link.

    A number that misses one of the `limits` is not shown as that limit. A row with `<key>_from` gives the source of the value: the address of
    the texts from which it was computed.
    """

    key: str
    title: str
    kind: str = "text"
    limits: tuple[float, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table. `note` defines its numbers, so that a reader needs no other text."""

    id: str
    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    def to_dict(self) -> TableDocument:
        """The table in the form of tables.json: every number at full precision."""
        return {
            "id": self.id,
            "title": self.title,
            "note": self.note,
            "columns": [{"key": column.key, "title": column.title, "kind": column.kind} for column in self.columns],
            "rows": [dict(row) for row in self.rows],
        }

    def cells(self) -> list[list[tuple[str, str | None]]]:
        """Every cell as text, and the address of its link, if any."""
        return [[(cell(column, row), source(column, row)) for column in self.columns] for row in self.rows]


@final
class OfATable(TypedDict):
    """A section that is a table."""

    table: Table


Section = OfATable | PlotDocument
"""A part of a report: a table or a plot."""


def source(column: Column, row: Row) -> str | None:
    """The address of the texts from which the value was computed; None if there is none."""
    address = row.get(column.key if column.kind == "link" else f"{column.key}_from")
    return address if isinstance(address, str) else None


def cell(column: Column, row: Row) -> str:
    """One value formatted for people; an en dash for a missing value."""
    value = row.get(column.key)
    if value is None:
        return MISSING
    if column.kind == "link":
        return "open"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return _number(column, value, row)
    return ", ".join(MISSING if entry is None else _number(column, entry, row) for entry in value) or "none"


def _number(column: Column, value: float, row: Row) -> str:
    if column.kind == "points":
        low, high = row.get(f"{column.key}_low"), row.get(f"{column.key}_high")
        interval = f" {limits(low, high)}" if isinstance(low, int | float) and isinstance(high, int | float) else ""
        return f"{value:+z.1f}{interval}"
    if column.kind == "number":
        # beyond 1e15 a float has no digit for each place, and a perplexity can be 5e21
        exact = not isinstance(value, float) or 10_000 - 0.5 <= abs(value) < 1e15
        return f"{value:z,.0f}" if exact else f"{value:z,.{digits(value, column.limits, 4)}g}"
    return f"{100 * value:z.1f} %" if column.kind == "share" else str(value)


def to_markdown(table: Table, note: str | None = None) -> str:
    """A GitHub-flavoured Markdown section; `note` replaces the table's own."""
    head = [escaped(column.title) for column in table.columns]
    lines = [f"## {escaped(table.title)}", "", escaped(table.note if note is None else note), ""]
    if not table.rows:
        return "\n".join([*lines, "No rows.", ""])
    body = [head, ["---"] * len(head), *([_linked(escaped(text), link) for text, link in row] for row in table.cells())]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in body), ""])


def _linked(text: str, link: str | None) -> str:
    return text if link is None else f"[{text}]({quote(link, safe=ADDRESS)})"


ADDRESS = "/:?=&%+,;@$!*'~#-._"
"""Characters that a link's address may contain unchanged; brackets, spaces and similar characters are percent-encoded."""
_MARKS = re.compile(r"[\\`*{}\[\]|~#!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Characters that Markdown reads as markup; an underscore within a word is not markup."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escaped(text: str) -> str:
    """A text escaped for Markdown, on one line: no element, link, emphasis, code or cell begins or ends in it."""
    shown = visible(" ".join(text.splitlines()))
    return _MARKS.sub(r"\\\g<0>", re.sub("[&<>]", lambda match: _ENTITIES[match[0]], shown))
