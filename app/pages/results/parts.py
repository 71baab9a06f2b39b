"""What a result's page is made of: figures, tables and cards, in order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.pages.plots.elements import Figure
from terms.documents.calibration import Aggregate

Leads = Callable[[str | None], str]
"""The address of the answers that a number was computed from, by its source; empty where a number leads nowhere."""


@dataclass(frozen=True)
class Link:
    """A number that leads to the answers it was computed from."""

    words: str
    href: str


Cell = str | Link


@dataclass(frozen=True)
class Grid:
    """A table: titles, rows of cells as text, and what the numbers mean. `held`: its first two columns stay in view."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: bool = True
    held: bool = False


@dataclass(frozen=True)
class Card:
    """What is advised for one model."""

    title: str
    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Text:
    """Answers of a model, beside each other: a prompt, and (heading, text, note) for each."""

    prompt: str
    system_prompt: str | None
    answers: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Tabs:
    """Ways to look at what is below: words, the query of each, and whether it is the present one."""

    title: str
    choices: Sequence[tuple[str, str, bool]]


@dataclass(frozen=True)
class Links:
    """Ways on from here: words and address of each."""

    links: Sequence[tuple[str, str]]


Part = Figure | Grid | Card | Text | Tabs | Links


@dataclass(frozen=True)
class Sections:
    """Why the answer is as it is, and what it costs. `aggregate`: of a calibration, for its first sentence."""

    why: Sequence[Part] = ()
    cost: Sequence[Part] = ()
    aggregate: Aggregate | None = None


def linked(words: str, href: str) -> Cell:
    """The words, as a link where there is an address."""
    return Link(words, href) if words and href else words


def kept(*parts: Part | None) -> list[Part]:
    """The parts that there are."""
    return [part for part in parts if part is not None]
