"""Prints a calibration for people: the verdict with its ratios, then the dims layer by layer."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from binnacle.cli.terminal import styled
from binnacle.results import CalibrationFile
from binnacle.words.emergence import emergence_in_words
from binnacle.words.massive import listed, massive_at, rule_of

SCOPES = {
    "every_token": "at every token",
    "token_local": "at some tokens only (see `location`)",
    "none": "nowhere",
}


def calibration_report(calibration: CalibrationFile) -> RenderableType:
    """Returns the report of one calibration.json."""
    aggregate = calibration["aggregate"]
    return Group(_verdict(aggregate), "", _layers(aggregate))


def _verdict(aggregate: dict[str, Any]) -> Table:
    """Returns the verdict, the dominant dim with its ratios, the massive dims and their emergence."""
    severity, ratios = aggregate["severity"], aggregate["severity"]["ratios"]
    dims = ", ".join(map(str, listed(aggregate))) or "none: cleaning changes nothing on this model"
    rows: dict[str, RenderableType] = {
        "severity": Text.assemble(styled(severity["verdict"], "bold"), f", {SCOPES[severity['scope']]}"),
        "dominant dim": f"{severity['dominant_dim']}, {severity['share_of_squared_norm']:.2%} of the squared norm",
        "ratio_to_median": f"{ratios['ratio_to_median']:g}  (mean size over the median dim's; mild from 10, severe from 100)",
        "ratio_to_mean": f"{ratios['ratio_to_mean']:g}",
        "max_to_median": f"{ratios['max_to_median']:g}",
        "max_to_entry_median": f"{ratios['max_to_entry_median']:g}",
        f"massive dims ({rule_of(aggregate)})": dims,
    }
    rows["emergence"] = emergence_in_words(aggregate)
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _layers(aggregate: dict[str, Any]) -> Table:
    """Returns the layers: top dims with their ratios, the mean norm, and the median norm without the default rule's massive dims."""
    table = Table("layer", "top dims (ratio_to_median; bold: massive)", "mean norm", "median norm without them", box=None)
    for layer, dims in aggregate["top_dims_by_layer"].items():
        facts, massive = aggregate["per_layer"][layer], massive_at(aggregate, int(layer))
        shown = [_dim(dim, facts[str(dim)]["ratio"], bold=dim in massive) for dim in dims]
        table.add_row(
            layer, Text("  ").join(shown), f"{aggregate['layer_norms'][layer]:g}", f"{aggregate['clean_norms'][layer]:g}"
        )
    return table


def _dim(dim: int, ratio: float, *, bold: bool) -> Text:
    """Returns a dim with its ratio_to_median, such as `443 (1008x)`."""
    return styled(f"{dim} ({ratio:g}x)", "bold" if bold else "")
