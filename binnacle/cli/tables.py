"""Prints a study's tables in a terminal: recommendations first, then the methods."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from binnacle.cli.terminal import styled
from binnacle.results import Tables
from binnacle.words.massive import LIMITS
from binnacle.words.rounding import decimals, limits
from binnacle.words.visible import visible

SHOWN = {
    "trait": "trait",
    "method": "method",
    "layer": "layer",
    "r": "dose",
    "coherence": "coherence",
    "delta": "gain",
    "at_dose": "at equal dose",
    "at_coefficient": "at the shared coefficient",
    "verdict": "verdict",
}


INTERVALS = ("delta", "at_dose", "at_coefficient")


def study_report(tables: Tables) -> RenderableType:
    """Returns a report of tables.json: the recommendation for each model and its reason, the model's severity, and its methods trait by
    trait.
    """
    by_id = {table["id"]: table for table in tables["tables"]}
    methods = by_id.get("methods", {"rows": [], "note": ""})  # a study without traits has none
    parts: list[RenderableType] = []
    for row in by_id["severity"]["rows"]:
        model = row["model"]
        to_median = row.get("ratio_to_median")
        ratio = "" if to_median is None else f", ratio_to_median {to_median:,.{decimals(to_median, LIMITS, 0)}f}"
        rule = f" by {row['rule']}" if row.get("rule") else ""  # older reports have one rule and do not name it
        dims = f", {row['why']}" if "dims" not in row else f", massive dims{rule} {row['dims'] or 'none'}"
        parts.append(Text.assemble(styled(model, "bold"), visible(f": {row['verdict']}{dims}{ratio}")))
        for recommendation in tables["recommendations"]:
            if recommendation["model"] == model:
                parts += [styled(f"  {recommendation['sentence']}", "bold"), styled(f"  {recommendation['because']}", "dim")]
        rows = [method for method in methods["rows"] if method["model"] == model]
        parts += ["", _methods(rows), ""] if rows else []
    return Group(*parts, styled(methods["note"], "dim"))


def _methods(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None)
    for title in SHOWN.values():
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(row, key) for key in SHOWN))
    return table


def _cell(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if key in INTERVALS:
        low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
        return f"{value:+z.1f}" + ("" if low is None or high is None else f" {limits(low, high, 0)}")
    return f"{value:z.3g}" if isinstance(value, float) else str(value)
