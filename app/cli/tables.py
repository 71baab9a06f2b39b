"""A study's tables as a person reads them in a terminal: recommendations first, then the methods."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

SHOWN = {
    "trait": "trait",
    "method": "method",
    "layer": "layer",
    "r": "dose r",
    "coherence": "coherence",
    "delta": "gain",
    "at_dose": "at the leader's dose",
    "verdict": "verdict",
}


def study_report(tables: dict[str, Any]) -> RenderableType:
    """What tables.json holds."""
    parts: list[RenderableType] = []
    for one in tables["recommendations"]:
        parts += [f"[bold]{one['model']}: {one['sentence']}[/]", f"[dim]{one['because']}[/]"]
    methods = next(table for table in tables["tables"] if table["id"] == "methods")
    return Group(*parts, "", _methods(methods["rows"]), f"[dim]{methods['note']}[/]")


def _methods(rows: list[dict[str, Any]]) -> Table:
    table = Table(*SHOWN.values(), box=None)
    for row in rows:
        table.add_row(*(_cell(row, key) for key in SHOWN))
    return table


def _cell(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if key in ("delta", "at_dose"):
        low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
        return f"{value:+.1f}" + ("" if low is None else f"  {low:+.1f} to {high:+.1f}")
    return f"{value:.3g}" if isinstance(value, float) else str(value)
