"""Builds the content of a study's HTML report: the same elements as the pages of the study, its steerings and its calibrations, for all models
together.

The sentences, plots and tables come from `app.pages.results`; this module decides which of them are in the report, and in which order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.pages.answers import calibration as severity_in_words
from app.pages.plots.elements import Figure
from app.pages.plots.heat import heat
from app.pages.results import calibration, steering, study
from app.pages.results.parts import Card, Grid, Link, Part, kept
from terms.documents.calibration import Aggregate
from terms.documents.steering import Summary
from terms.documents.study import TableDocument, TablesDocument
from terms.values import Json, JsonObject
from workers.reports import matrices
from workers.reports.examples import examples
from workers.reports.gathered import Cell, Gathered
from workers.reports.once import Once
from workers.reports.texts import CellTexts, Places, Read, collected

FIRST_WAYS = ("best", "dose")
"""Ways of matching methods that are shown at once; the others are hidden until the reader opens them."""
DRAWN = "cosines-"
"""Prefix of the tables that are shown as plots here."""
WIDEST = 135
"""The most characters in a table row that fit a screen of 1280 pixels; wider tables are turned."""
LONGEST = 30
"""Longer cells are wrapped."""
BESIDE = 4
"""Number of rows of a turned table next to each other."""


@dataclass(frozen=True)
class Group:
    """Figures, tables or examples of one kind with a common note. `folded`: hidden until the reader opens it."""

    title: str
    note: str
    parts: Sequence[Part]
    folded: bool = False


@dataclass(frozen=True)
class Frame:
    """The parts of the report in reading order."""

    cards: Sequence[Card]
    plots: Sequence[Group]
    tables: Sequence[Group]
    examples: Sequence[Part]
    texts: Sequence[CellTexts] = field(default_factory=tuple)


def frame(document: TablesDocument, data: Gathered, read: Read) -> Frame:
    """Builds the frame. `document` is tables.json. Numbers link to places in the same file."""
    once, places = Once(), Places(data.cells)
    steered = [cell for cell in data.cells if cell.steering]
    plots = [*_gains(document, places), *_curves(steered, places), *_of_models(data), *_cosines(data.cells)]
    tables = [group for table in document["tables"] if (group := _table(table, places)) is not None]
    return Frame(
        cards=_cards(document, data, once),
        plots=[replace(group, note=once(group.note)) for group in plots if group.parts],
        tables=[replace(group, note=once(group.note)) for group in tables],
        examples=[part for cell in steered for part in examples(cell, read)],
        texts=collected(data.cells, places, read),
    )


def _cards(document: TablesDocument, data: Gathered, once: Once) -> list[Card]:
    """The recommendation for each model, after the result of its calibration. The rule behind a recommendation is shown with the first model."""
    advised = {card.title: card for card in study.cards(document["recommendations"])}
    names = dict.fromkeys([*data.calibrations, *advised])
    return [
        Card(
            name,
            [
                *_severity(data.calibrations.get(name)),
                *((said, _because(why, once)) for said, why in (advised[name].lines if name in advised else ())),
            ],
        )
        for name in names
    ]


def _because(text: str, once: Once) -> str:
    rule, end, numbers = text.partition(". ")
    return f"{once(rule + end.strip())} {numbers}".strip() if rule.startswith("Rule:") else text


def _severity(aggregate: Aggregate | None) -> list[tuple[str, str]]:
    answer = None if aggregate is None else severity_in_words(aggregate.get("severity"), aggregate.get("massive_dims"), aggregate)
    return [] if answer is None else [(answer.sentence, answer.more)]


def _gains(document: TablesDocument, places: Places) -> Iterator[Group]:
    """The forest plots, by way of matching."""
    rows: Sequence[JsonObject] = next((table["rows"] for table in document["tables"] if table["id"] == "methods"), [])
    for way, name in study.NAMES.items():
        note = f"{study.FOREST} {study.NOTES[way]}"
        yield Group(f"Gain of each method: {name}", note, study.forests(rows, way, "", places.of_source), way not in FIRST_WAYS)


def _curves(cells: Sequence[Cell], places: Places) -> Iterator[Group]:
    """Trait and coherence over the dose, and the map of layers and doses, of each steering."""
    drawn: list[Callable[[Cell], Figure | None]] = [
        lambda cell: steering.curves(_summary(cell), "trait", places.of(cell)),
        lambda cell: steering.curves(_summary(cell), "coherence", places.of(cell)),
        lambda cell: steering.layers(_summary(cell), places.of(cell)),
    ]
    for draw in drawn:
        figures = {f"{cell.trait} on {cell.model}": draw(cell) for cell in cells}
        yield _alike(figures)


def _summary(cell: Cell) -> Summary:
    assert cell.steering is not None
    return cell.steering


def _of_models(data: Gathered) -> Iterator[Group]:
    """Massive dimensions by layer, and the norms, of each model."""
    yield _alike({model: calibration.ratios(aggregate) for model, aggregate in data.calibrations.items()})
    yield _alike({model: calibration.norms(aggregate) for model, aggregate in data.calibrations.items()})


def _alike(figures: Mapping[str, Figure | None]) -> Group:
    """Groups plots of one kind: the title and the note of the first are used for all."""
    shown = {name: figure for name, figure in figures.items() if figure is not None}
    if not shown:
        return Group("", "", [])
    first = next(iter(shown.values()))
    parts = [
        replace(
            figure,
            title=name if figure.title == first.title else f"{name}: {figure.title}",
            note="" if figure.note == first.note else figure.note,
        )
        for name, figure in shown.items()
    ]
    return Group(first.title, first.note, parts)


def _cosines(cells: Sequence[Cell]) -> Iterator[Group]:
    """Cosines between the vectors of one layer, before and after cleaning."""
    parts: list[Part] = []
    for cell in cells:
        comparison = matrices.compared(cell)
        if comparison is None:
            continue
        for which, matrix in (("before cleaning", comparison.before), ("after cleaning", comparison.after)):
            places = {(a, b): float(matrix[i, j]) for i, a in enumerate(comparison.names) for j, b in enumerate(comparison.names)}
            title = f"{cell.trait} on {cell.model}, layer {comparison.layer}: {which}"
            parts += kept(heat(title, "", places, comparison.names, comparison.names, "", ends=(-1.0, 1.0)))
    yield Group(
        "Cosines between vectors", "At the layer where the best method steers. Cleaning sets the massive dims to 0.", parts
    )


def _table(table: TableDocument, places: Places) -> Group | None:
    """A table as grids that fit the screen: one grid for each trait and model where each has many rows."""
    if table["id"].startswith(DRAWN) or not table["rows"]:
        return None
    title = study.title_of(table)
    grids: list[Part] = []
    for name, part in _split(table):
        grid = study.grid_of(part, "", places.of_source)
        if grid is not None:
            grids += _fitting(replace(grid, title=name, note="", held=bool(name) and table["id"] == "methods"))
    return Group(title, table["note"], grids)


def _split(table: TableDocument) -> Iterator[tuple[str, TableDocument]]:
    """The rows of each trait and model, without those two columns; the whole table under an empty name where each has few rows."""
    pairs = [(row.get("model"), row.get("trait")) for row in table["rows"]]
    keys = [column["key"] for column in table["columns"]]
    if not {"model", "trait"} <= set(keys) or len(pairs) < 3 * len(set(pairs)):
        yield "", table
        return
    columns = [column for column in table["columns"] if column["key"] not in ("model", "trait")]
    rows_of: dict[tuple[Json, Json], list[JsonObject]] = {pair: [] for pair in pairs}
    for pair, row in zip(pairs, table["rows"], strict=True):  # rows of a pair may be apart: `published` keeps the user's order
        rows_of[pair].append(row)
    for (model, trait), rows in rows_of.items():
        yield f"{trait} on {model}", {**table, "rows": rows, "columns": columns}


def _fitting(grid: Grid) -> list[Grid]:
    """The grid; if it is too wide, its rows become columns, as many next to each other as fit."""
    if _width(grid) <= WIDEST:
        return [grid]
    names, *facts = zip(*grid.rows, strict=True)
    turned = []
    for first in range(0, len(names), BESIDE):
        rows = [[title, *values[first : first + BESIDE]] for title, values in zip(grid.columns[1:], facts, strict=True)]
        columns = [grid.columns[0], *(_said(name) for name in names[first : first + BESIDE])]
        turned.append(replace(grid, columns=columns, rows=rows, numeric=False))
    return turned


def _width(grid: Grid) -> int:
    """The width of the grid's widest row in characters, with the space between columns. Titles are wrapped at words."""
    columns = zip(grid.columns, *grid.rows, strict=True)
    return sum(
        3 + max(*map(len, title.split()), *(min(LONGEST, len(_said(cell))) for cell in cells)) for title, *cells in columns
    )


def _said(cell: str | Link) -> str:
    return cell if isinstance(cell, str) else cell.words
