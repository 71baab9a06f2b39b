"""Text on a terminal: whatever is printed is text, and never markup, a link, a control sequence or a line of its own.

What others called their jobs reaches everybody's terminal. So the consoles of the command line take every string as it is, in messages
and in the cells of tables, and write out the characters that a terminal would obey. Style is for what the command line says itself
(`styled`).
"""

import sys
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import Task, TextColumn
from rich.table import Table
from rich.text import Text

from binnacle.served import ID
from binnacle.words.visible import visible

WIDE = 140
"""Columns where there is no terminal to ask."""


def styled(text: str, style: str) -> Text:
    """The text in bold, in red and the like."""
    return Text(visible(text), style)


class Terminal(Console):
    """A console for which a string is text."""

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        super().__init__(
            stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if stream.isatty() else WIDE
        )

    def render_str(self, text: str, *, style: Any = "", justify: Any = None, overflow: Any = None, **_: Any) -> Text:
        """Rich turns every string into text here: those of messages, of cells and of headings."""
        return Text(visible(text), style=style, justify=justify, overflow=overflow)


class Listing(Table):
    """A table without lines. Ids and the first column are never cut or folded, so that they can be copied; other columns give way."""

    def __init__(self, *titles: str) -> None:
        super().__init__(*titles, box=None)

    def add_row(self, *cells: RenderableType | None, **how: Any) -> None:
        """One row, its cells in the order of the titles."""
        super().add_row(*cells, **how)
        for place, (column, cell) in enumerate(zip(self.columns, cells, strict=False)):
            text = visible(str(cell or ""))
            if place == 0 or ID.fullmatch(text):
                column.no_wrap = True
                column.min_width = max(column.min_width or 0, cell_len(text))


class PlainColumn(TextColumn):
    """A column of a progress bar; rich would render its text without asking the console."""

    def render(self, task: Task) -> Text:
        """The text of one task."""
        return Text(visible(self.text_format.format(task=task)))
