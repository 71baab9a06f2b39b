"""Shows a study: the recommendation for each model, the forest plots, and its tables, all from tables.json."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlencode

from app.pages.plots.elements import Figure
from app.pages.plots.forest import Estimate, forest
from app.pages.results.parts import Card, Grid, Leads, Links, Part, Sections, Tabs, linked
from app.pages.texts.runs import key_of
from app.pages.wording import interval, number, percent, points
from binnacle.words.massive import LIMITS
from binnacle.words.rounding import digits
from terms.documents.study import ColumnDocument, Finding, TableDocument, TablesDocument
from terms.values import JsonObject

WAYS = {"best": "delta", "dose": "at_dose", "coherence": "at_coherence", "coefficient": "at_coefficient"}
NAMES = {
    "best": "best dose",
    "dose": "equal dose",
    "coherence": "equal coherence",
    "coefficient": "raw coefficient",
}
NOTES = {
    "best": "Each method at its own best dose.",
    "dose": "Every method at the leader's dose: the fair comparison.",
    "coherence": "Every method at the dose with the leader's coherence.",
    "coefficient": "Every method at the probe's raw coefficient, or the leader's where no probe was steered; this is not a fair comparison; "
    "published results for mean differences were measured this way.",
}
FOREST = "Gain on held-out questions with 95 % intervals."
COMPARED = ("severity", "recommendations")
"""Tables that compare models, shown with all rows."""
COST_TABLES = ("off_target", "ablation", "cleaning")


@dataclass(frozen=True)
class View:
    """The selected view: how the forest plots match methods, the model of the plots and tables, and the open table."""

    way: str = "best"
    model: str = ""
    table: str = ""

    def query(self, **changed: str) -> str:
        """Returns the query of this view with these changes."""
        return urlencode({"model": self.model, "way": self.way, "table": self.table, **changed})


def sections(document: TablesDocument | None, recommendations: Sequence[Finding], view: View, job: str = "") -> Sections:
    """Returns the sections of a study. `job`: the study's job, for a link to label its answers; empty without a labelling sheet."""
    tables = {table["id"]: table for table in document.get("tables") or []} if document else {}
    rows = tables["methods"]["rows"] if "methods" in tables else []
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    costs = [name for name in tables if name.startswith(COST_TABLES)]
    further = [name for name in tables if name not in (*costs, "methods", "recommendations") and tables[name]["rows"]]
    view = View(_known(view.way, list(WAYS)), _known(view.model, models), _known(view.table, further))
    why: list[Part] = [*cards(recommendations), *_tabs(view, models)]
    if rows:
        why += forests([row for row in rows if row["model"] == view.model], view.way, f"{FOREST} {NOTES[view.way]}")
        why += _grids(tables, ["methods"], view.model)
    why += _labels(document.get("facts") or {} if document else {}, job)
    if len(further) > 1:
        why.append(Tabs("Tables", [(title_of(tables[name]), view.query(table=name), name == view.table) for name in further]))
    why += _grids(tables, [view.table] if view.table else [], view.model)
    return Sections(why, _grids(tables, costs, view.model))


def _grids(tables: Mapping[str, TableDocument], names: Sequence[str], model: str) -> list[Part]:
    return [grid for name in names if (grid := grid_of(tables[name], model)) is not None]


def _known(asked: str, known: Sequence[str]) -> str:
    """Returns `asked` if it is known, otherwise the first known value."""
    return asked if asked in known else next(iter(known), "")


def title_of(table: TableDocument) -> str:
    """Returns the table's title, without the number in older reports."""
    return str(table["title"].split(". ", 1)[-1])


def _tabs(view: View, models: Sequence[str]) -> list[Part]:
    """Returns the tabs: the models, if there are several, and the ways of matching."""
    if not models:
        return []
    ways = [(words, view.query(way=way), way == view.way) for way, words in NAMES.items()]
    tabs: list[Part] = [Tabs("How methods are matched", ways)]
    of_models = [(name, view.query(model=name), name == view.model) for name in models]
    return [Tabs("Models", of_models), *tabs] if len(models) > 1 else tabs


def cards(recommendations: Sequence[Finding]) -> list[Card]:
    """Returns the recommendations as a card for each model."""
    models = list(dict.fromkeys(advice["model"] for advice in recommendations))
    return [
        Card(model, [(advice["sentence"], advice.get("because", "")) for advice in recommendations if advice["model"] == model])
        for model in models
    ]


def _labels(facts: Mapping[str, str], job: str) -> list[Part]:
    """Returns how well the judge agrees with a person, and a link to label answers."""
    said = facts.get("judge and labels") or ""
    card = (
        [Card("The judge beside a person", [(f"{said[:1].upper()}{said[1:]}.", "")])]
        if said and not said.startswith("not labelled")
        else []
    )
    return [*card, *([Links([("Label answers blind", f"/jobs/{job}/label")])] if job else [])]


LEADER = ("the leader", "leads")
"""What stands for a verdict in the leader's row; the second in studies from before 2026-11-29."""


def forests(rows: Sequence[JsonObject], way: str, note: str, leads: Leads | None = None) -> list[Figure]:
    """Returns a plot for each model and trait; numbers link to pages of this service unless `leads` is given."""
    key = WAYS[way]
    parts = []
    for model, trait in dict.fromkeys((row["model"], row["trait"]) for row in rows):
        own = [row for row in rows if (row["model"], row["trait"]) == (model, trait)]
        estimates = []
        for row in own:
            field = "delta" if row["kind"] == "control" else key
            value = _figure(row, field)
            if value is not None:
                look = "control" if row["kind"] == "control" else "leader" if row.get("verdict") in LEADER else "method"
                ends = _figure(row, f"{field}_low"), _figure(row, f"{field}_high")
                estimates.append(Estimate(str(row["method"]), value, *ends, look, (leads or page_of)(_source(row, field))))
        estimates.sort(key=lambda estimate: (estimate.look == "control", -estimate.value))
        parts.append(forest(f"{trait} on {model}", note, estimates, "gain in points"))
    return [part for part in parts if part is not None]


def _figure(row: JsonObject, key: str) -> float | None:
    """Returns a number of the row; None if it has none."""
    value = row.get(key)
    return value if isinstance(value, int | float) else None


def _source(row: JsonObject, key: str) -> str | None:
    """Returns the source of a value of the row."""
    source = row.get(f"{key}_from")
    return source if isinstance(source, str) else None


_SOURCE = re.compile(r"/v1/\w+/(job_\w+)(?:/responses\?run=(.+))?")


def page_of(source: str | None) -> str:
    """Returns the page for the source of a number, given as an API address: the answers of a run, or the job. Empty for other addresses."""
    match = _SOURCE.fullmatch(source or "")
    if match is None:
        return ""
    return f"/jobs/{match[1]}" + (f"/answers?run={key_of(unquote(match[2]))}" if match[2] else "")


METHODS = ("model", "trait", "method", "verdict", "difference", "layer", "r", "coherence", "delta", "at_dose", "at_coherence")
"""Columns of the table of methods on the page, in this order; the files have all columns."""


def _columns(table: TableDocument) -> list[ColumnDocument]:
    columns = {column["key"]: column for column in table["columns"] if column["kind"] != "link"}
    return [columns[key] for key in METHODS if key in columns] if table["id"] == "methods" else list(columns.values())


def grid_of(table: TableDocument, model: str, leads: Leads | None = None) -> Grid | None:
    """Returns a table of the study as in its report, without columns of API links. Tables that do not compare models show one model.

    `leads`: as in `forests`.
    """
    columns = _columns(table)
    of_model = [row for row in table["rows"] if table["id"] in COMPARED or not model or row.get("model") in (None, model)]
    rows = [
        [linked(_cell(column, row), (leads or page_of)(_source(row, column["key"]))) for column in columns] for row in of_model
    ]
    shown = [at for at, _ in enumerate(columns) if any(row[at] for row in rows)]
    if not rows:
        return None
    return Grid(
        title_of(table), table["note"], [columns[at]["title"] for at in shown], [[row[at] for at in shown] for row in rows]
    )


def _cell(column: ColumnDocument, row: JsonObject) -> str:
    value, key = row.get(column["key"]), column["key"]
    if value is None:
        return ""
    if column["kind"] == "dims" and isinstance(value, Sequence):
        return ", ".join(map(str, value)) or "none"
    if column["kind"] not in ("points", "share", "number") or not isinstance(value, int | float):
        return str(value)
    if column["kind"] == "points":
        return f"{points(value)}{interval(_figure(row, f'{key}_low'), _figure(row, f'{key}_high'))}"
    if column["kind"] == "share":
        return percent(value)
    return number(value, digits(value, LIMITS, 3) if key == "ratio_to_median" else 3)
