"""Cells of CSV files that people open in spreadsheets: none is taken for a formula, and reading one gives the text back."""

import re

_FORMULA = re.compile(
    r"['\s\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3000\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]"
)
"""Begins with what spreadsheets take for a formula, in its full-width forms too, perhaps after characters that some of them drop.

Apostrophes count among those, so that a text that begins with one can be told from one that was given it here.
"""


def inert(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula: an apostrophe before it, which spreadsheets show as none."""
    return f"'{text}" if _FORMULA.match(text) else text


def restored(cell: str) -> str:
    """The text that `inert` made this cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell
