"""Prints text safely on a terminal: strings are never treated as markup, links, control sequences or extra lines.

Names that other users give their jobs appear on everybody's terminal. So the command line's consoles print every string literally, in
messages and table cells, and show characters that a terminal would act on as escapes. Only the command line's own text is styled (`styled`).
"""

import re
import sys
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import Task, TextColumn
from rich.table import Table
from rich.text import Text

from binnacle.served import ID
from binnacle.words.visible import visible

WIDE = 1000
"""Columns when the output is not a terminal: so that cells in a file or a pipe are not cut."""


def styled(text: str, style: str) -> Text:
    """Returns the text with a style, such as bold or red."""
    return Text(visible(text), style)


class Terminal(Console):
    """A console that prints strings literally."""

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        super().__init__(
            stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if stream.isatty() else WIDE
        )

    def print(self, *objects: Any, **how: Any) -> None:
        """Prints as rich does. In a file or a pipe no line ends in spaces, such as those that fill up a table's last column."""
        if self.is_terminal:
            super().print(*objects, **how)
            return
        with self.capture() as printed:
            super().print(*objects, **how)
        super().print(Text(re.sub(" +\n", "\n", printed.get())), end="")

    def render_str(self, text: str, *, style: Any = "", justify: Any = None, overflow: Any = None, **_: Any) -> Text:
        """Returns a string as literal text; rich calls this for messages, cells and headings."""
        return Text(visible(text), style=style, justify=justify, overflow=overflow)


class Listing(Table):
    """A table without lines. Ids and the first column are never cut or folded, so that they can be copied; other columns shrink."""

    def __init__(self, *titles: str) -> None:
        super().__init__(*titles, box=None)

    def add_row(self, *cells: RenderableType | None, **how: Any) -> None:
        """Adds a row, with cells in the order of the titles."""
        super().add_row(*cells, **how)
        for place, (column, cell) in enumerate(zip(self.columns, cells, strict=False)):
            text = visible(str(cell or ""))
            if place == 0 or ID.fullmatch(text):
                column.no_wrap = True
                column.min_width = max(column.min_width or 0, cell_len(text))


class PlainColumn(TextColumn):
    """A column of a progress bar; rich would otherwise render its text without the console's rules."""

    def render(self, task: Task) -> Text:
        """Returns the text of one task."""
        return Text(visible(self.text_format.format(task=task)))
