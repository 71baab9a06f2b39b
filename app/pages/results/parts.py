"""The parts of a result's page: figures, tables and cards, in order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.pages.plots.elements import Figure
from terms.documents.calibration import Aggregate

Leads = Callable[[str | None], str]
"""Returns, for the source of a number, the address of the answers that it was computed from; empty if there is none."""


@dataclass(frozen=True)
class Link:
    """A number with a link to the answers that it was computed from."""

    words: str
    href: str


Cell = str | Link


@dataclass(frozen=True)
class Grid:
    """A table: titles of columns, rows of cells, and in `note` what the numbers mean. `numeric`: cells are aligned as numbers. `held`: the first
    two columns stay in view.
    """

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: bool = True
    held: bool = False


@dataclass(frozen=True)
class Card:
    """The recommendation for one model."""

    title: str
    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Text:
    """Answers of a model side by side: a prompt, and (heading, text, note) for each answer."""

    prompt: str
    system_prompt: str | None
    answers: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Tabs:
    """Alternative views of the content below: label, query, and whether it is selected."""

    title: str
    choices: Sequence[tuple[str, str, bool]]


@dataclass(frozen=True)
class Links:
    """Links to related pages: label and address of each."""

    links: Sequence[tuple[str, str]]


Part = Figure | Grid | Card | Text | Tabs | Links


@dataclass(frozen=True)
class Sections:
    """The sections Why and Cost. `aggregate`: of a calibration, for its first sentence."""

    why: Sequence[Part] = ()
    cost: Sequence[Part] = ()
    aggregate: Aggregate | None = None


def linked(words: str, href: str) -> Cell:
    """Returns the words, as a link if there is an address."""
    return Link(words, href) if words and href else words


def kept(*parts: Part | None) -> list[Part]:
    """Returns the parts that are not None."""
    return [part for part in parts if part is not None]
