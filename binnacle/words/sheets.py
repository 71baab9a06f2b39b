"""Escapes texts for CSV files, so that spreadsheets do not run them as formulas, and restores the texts from the cells."""

import re

_FORMULA = re.compile(
    r"['\s\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3000\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]"
)
"""Matches texts that a spreadsheet may read as a formula: `=`, `+`, `-` or `@`, or the full-width form, perhaps after ignored characters;
also texts that begin with a tab or a line break.

Apostrophes count as ignored characters, so that `'=1` is escaped too: `restored` could otherwise not distinguish it from an escaped `=1`.
"""


def inert(text: str) -> str:
    """The text as a safe cell: with an apostrophe in front, which spreadsheets hide, if it could be read as a formula; else unchanged."""
    return f"'{text}" if _FORMULA.match(text) else text


def restored(cell: str) -> str:
    """The original text of a cell made by `inert`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell
