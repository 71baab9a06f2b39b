"""A study: what it advises for each model, the forest plots, and its tables, all from tables.json."""

import re
from collections.abc import Sequence
from urllib.parse import unquote

from app.pages.plots.forest import Estimate, forest
from app.pages.results.parts import Card, Facts, Grid, Links, Part, Sections, Tabs, linked
from app.pages.texts.runs import key_of
from app.pages.wording import interval, number, percent, points

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
    "coefficient": "Every method at the probe's raw coefficient; this is not a fair comparison; published results for "
    "mean differences were measured this way.",
}
COST_TABLES = ("off_target", "ablation", "cleaning")


def sections(document: Facts, recommendations: Sequence[Facts], way: str, job: str = "") -> Sections:
    """`way`: how the methods are matched in the forest plots. `job`: the study's, to label its answers; empty for those without a sheet."""
    way = way if way in WAYS else "best"
    tables = {table["id"]: table for table in document.get("tables") or []}
    why: list[Part] = [*_cards(recommendations)]
    if "methods" in tables and tables["methods"]["rows"]:
        why.append(Tabs("way", way, list(NAMES.items())))
        why += _forests(tables["methods"]["rows"], way)
    why += _labels(document.get("facts") or {}, job)
    cost_ids = [name for name in tables if name.startswith(COST_TABLES)]
    order = [name for name in ("methods", "severity", "traits", "vectors") if name in tables]
    rest = [name for name in tables if name not in (*cost_ids, *order, "recommendations")]
    why += [grid for name in (*order, *rest) if (grid := _grid(tables[name])) is not None]
    return Sections(why, [grid for name in cost_ids if (grid := _grid(tables[name])) is not None])


def _cards(recommendations: Sequence[Facts]) -> list[Part]:
    models = list(dict.fromkeys(one["model"] for one in recommendations))
    return [
        Card(model, [(one["sentence"], one.get("because", "")) for one in recommendations if one["model"] == model])
        for model in models
    ]


def _labels(facts: Facts, job: str) -> list[Part]:
    """How well the judge agrees with a person, and the way to label answers."""
    said = facts.get("judge and labels") or ""
    card = (
        [Card("The judge beside a person", [(f"{said[:1].upper()}{said[1:]}.", "")])]
        if said and not said.startswith("not labelled")
        else []
    )
    return [*card, *([Links([("Label answers blind", f"/jobs/{job}/label")])] if job else [])]


def _forests(rows: Sequence[Facts], way: str) -> list[Part]:
    """One plot for each model and trait."""
    key = WAYS[way]
    parts = []
    for model, trait in dict.fromkeys((row["model"], row["trait"]) for row in rows):
        own = [row for row in rows if (row["model"], row["trait"]) == (model, trait)]
        estimates = []
        for row in own:
            field = "delta" if row["kind"] == "control" else key
            if row.get(field) is not None:
                look = "control" if row["kind"] == "control" else "leader" if row.get("verdict") == "leads" else "method"
                ends = row.get(f"{field}_low"), row.get(f"{field}_high")
                estimates.append(Estimate(row["method"], row[field], *ends, look, page_of(row.get(f"{field}_from"))))
        estimates.sort(key=lambda one: (one.look == "control", -one.value))
        note = f"Gain on held-out questions with 95 % intervals. {NOTES[way]}"
        parts.append(forest(f"{trait} on {model}", note, estimates, "gain in points"))
    return [part for part in parts if part is not None]


_SOURCE = re.compile(r"/v1/\w+/(job_\w+)(?:/responses\?run=(.+))?")


def page_of(source: str | None) -> str:
    """The page of what a number was computed from, by its address in the API: the answers of a run, or the job. Empty for neither."""
    found = _SOURCE.fullmatch(source or "")
    if found is None:
        return ""
    return f"/jobs/{found[1]}" + (f"/answers?run={key_of(unquote(found[2]))}" if found[2] else "")


METHODS = ("model", "trait", "method", "verdict", "layer", "r", "coherence", "delta", "at_dose", "at_coherence")
"""Columns of the table of methods on the page, in this order; the rest is in the files."""


def _columns(table: Facts) -> list[Facts]:
    columns = {column["key"]: column for column in table["columns"] if column["kind"] != "link"}
    return [columns[key] for key in METHODS if key in columns] if table["id"] == "methods" else list(columns.values())


def _grid(table: Facts) -> Grid | None:
    """One of the study's tables, as its report shows it, without the columns that are links of the API."""
    columns = _columns(table)
    rows = [
        [linked(_cell(column, row), page_of(row.get(f"{column['key']}_from"))) for column in columns] for row in table["rows"]
    ]
    shown = [at for at, _ in enumerate(columns) if any(row[at] for row in rows)]
    if not rows:
        return None
    title = table["title"].split(". ", 1)[-1]
    return Grid(title, table["note"], [columns[at]["title"] for at in shown], [[row[at] for at in shown] for row in rows])


def _cell(column: Facts, row: Facts) -> str:
    value, key = row.get(column["key"]), column["key"]
    if value is None:
        return ""
    if column["kind"] == "points":
        return f"{points(value)}{interval(row.get(f'{key}_low'), row.get(f'{key}_high'))}"
    if column["kind"] == "share":
        return percent(value)
    if column["kind"] == "dims":
        return ", ".join(map(str, value)) or "none"
    return number(value) if column["kind"] == "number" and isinstance(value, int | float) else str(value)
