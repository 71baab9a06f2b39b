"""Shows a calibration: massive dimensions, their layers, their share of the norm, and their tokens."""

from app.pages.plots.elements import Figure
from app.pages.plots.heat import heat
from app.pages.plots.lines import Axes, Series, lines
from app.pages.results.parts import Grid, Part, Sections, kept
from app.pages.wording import number, percent, shown_of
from binnacle.words.massive import listed
from terms.documents.calibration import Aggregate, CalibrationDocument

MOST_DIMS = 14
MOST_SHARES = 6


def sections(document: CalibrationDocument | None) -> Sections:
    """Returns the sections from calibration.json."""
    aggregate = None if not document else document.get("aggregate")
    if not aggregate or not aggregate.get("per_layer"):
        return Sections(aggregate=aggregate)
    return Sections(kept(ratios(aggregate), _shares(aggregate), norms(aggregate), _places(aggregate)), (), aggregate)


def ratios(aggregate: Aggregate) -> Figure | None:
    """Returns a figure of each dimension's size at each layer."""
    per_layer = aggregate["per_layer"]
    highest: dict[str, float] = {}
    for dims in per_layer.values():
        for dim, facts in dims.items():
            highest[dim] = max(highest.get(dim, 0.0), facts["ratio"])
    massive = [str(dim) for dim in listed(aggregate)] if "massive_dims" in aggregate else []
    others = [dim for dim in sorted(highest, key=lambda dim: -highest[dim]) if dim not in massive]
    rows = [*massive, *others][:MOST_DIMS]
    cells = {
        (_named(dim, massive), layer): facts[dim]["ratio"] for layer, facts in per_layer.items() for dim in rows if dim in facts
    }
    note = "Mean size of a dimension over that of the median dimension, by layer; shades are logarithmic. A dot marks massive dimensions."
    note += shown_of(len(rows), len({*massive, *others}), "dimensions")
    return heat(
        "Size of each dimension", note, cells, [_named(dim, massive) for dim in rows], list(per_layer), "layer",
        ends=(1.0, max([100.0, *highest.values()])), log=True, shown="times the median",
    )  # fmt: skip


def _named(dim: str, massive: list[str]) -> str:
    return f"\N{BULLET} dim {dim}" if dim in massive else f"dim {dim}"


def _shares(aggregate: Aggregate) -> Part | None:
    shares = aggregate.get("norm_share") or {}
    dims = list(dict.fromkeys(dim for by_dim in shares.values() for dim in by_dim))
    series = [
        Series(f"dim {dim}", [(float(layer), by[dim]) for layer, by in shares.items() if dim in by]) for dim in dims[:MOST_SHARES]
    ]
    note = "The part of the squared norm of the residual stream that each massive dimension holds."
    note += shown_of(len(series), len(dims), "dimensions")
    return lines("Share of the norm in massive dimensions", note, series, Axes("layer", "share", y_range=(0.0, 1.0)))


def norms(aggregate: Aggregate) -> Figure | None:
    """Returns a figure of the residual stream's norm by layer, with and without massive dimensions."""
    series = [
        Series(name, [(float(layer), value) for layer, value in (by_layer or {}).items() if value and value > 0])
        for name, by_layer in (
            ("whole stream, mean", aggregate.get("layer_norms")),
            ("without massive dimensions, median", aggregate.get("clean_norms")),
        )
    ]
    note = "Norm of the residual stream by layer. Doses are measured in the norm without massive dimensions."
    return lines("Norm with and without massive dimensions", note, series, Axes("layer", "norm", log_y=True))


def _places(aggregate: Aggregate) -> Part | None:
    rows = [
        [f"dim {dim}", layer, percent(at["above_30x"]), percent(at["first_token"]), percent(at["first_delimiter"]), percent(at["elsewhere"]),
         number(at["largest"])]
        for layer, dims in (aggregate.get("location") or {}).items()
        for dim, at in dims.items()
    ]  # fmt: skip
    if not rows:
        return None
    note = "Share of prompts in which the dimension is more than 30 times the median entry, and at which token it is largest."
    columns = ["dimension", "layer", "in prompts", "first token", "first delimiter", "elsewhere", "largest"]
    return Grid("Where massive dimensions are largest", note, columns, rows)
