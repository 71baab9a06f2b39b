"""Makes cells of CSV files safe for spreadsheets: no cell is read as a formula, and the original text can be restored."""

import re

_FORMULA = re.compile(
    r"['\s\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3000\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]"
)
"""Matches text that spreadsheets read as a formula, in full-width forms too, perhaps after characters that some of them drop.

Apostrophes count among these characters, so that a text that begins with an apostrophe differs from one that got it here.
"""


def inert(text: str) -> str:
    """Returns the text as a cell that no spreadsheet reads as a formula: with an apostrophe in front, which spreadsheets hide."""
    return f"'{text}" if _FORMULA.match(text) else text


def restored(cell: str) -> str:
    """Returns the text from which `inert` made this cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell
