"""Five columns of the severity table: where a model's massive dims are largest and emerge, and the weights and tokens that were measured.

Read from calibration.json of any schema; a value that a file lacks is "not measured", or None, which tables show as a dash.
"""

from collections.abc import Iterable, Mapping, Sequence

from binnacle.words.emergence import NOT_MEASURED, emergence_in_words
from terms.documents.calibration import Aggregate, CalibrationProvenance, DimLocation
from workers.reports.table import Cells, Column

LOCATED = 3
"""The most dims with a location in one cell."""

COLUMNS = [
    Column("reference", "dims by top5-3layers", "dims"),
    Column("location", "largest at"),
    Column("emergence", "emergence"),
    Column("weights", "weights"),
    Column("measured_on", "measured on"),
]
NOTE = (
    "top5-3layers is the reference's rule, which always lists some dims. Largest at: for each of the three largest dims, at the "
    "layer of its largest value, the share of prompts in which its maximum over all tokens is at the first token, at the first delimiter, or "
    "elsewhere. "
    "Emergence, of the dominant dim: the first layer with half of its largest ratio, its plateau, and where it falls below half. Weights: the "
    "first 12 digits of their SHA-256."
)


def severity_columns(aggregate: Aggregate, provenance: CalibrationProvenance | None) -> Cells:
    """The cells of COLUMNS. `provenance` comes from the file, None where it is unknown."""
    tokens = None if provenance is None else provenance.get("response_tokens")
    return {
        "reference": _at_several_layers(aggregate.get("top_dims_by_layer", {}).values()),
        "location": _location(aggregate.get("location")),
        "emergence": emergence_in_words(aggregate),
        "weights": None if provenance is None else str(provenance.get("weight_hash") or "")[:12] or None,
        "measured_on": None
        if provenance is None or tokens is None
        else f"{tokens:,} tokens, {provenance['dtype']}, {provenance['device']}",
    }


def _at_several_layers(tops: Iterable[Sequence[int]]) -> list[int]:
    """The dims among the top 5 of three layers, or of all layers where fewer were captured."""
    tops = list(tops)
    every = [dim for dims in tops for dim in dims]
    return sorted({dim for dim in every if every.count(dim) >= min(3, len(tops))})


def _location(by_layer: Mapping[str, Mapping[str, DimLocation]] | None) -> str:
    if by_layer is None:
        return NOT_MEASURED
    largest: dict[str, DimLocation] = {}
    for dims in by_layer.values():
        for dim, facts in dims.items():
            if dim not in largest or facts["largest"] > largest[dim]["largest"]:
                largest[dim] = facts
    order = sorted(largest, key=lambda dim: (-largest[dim]["largest"], int(dim)))
    return "; ".join(f"{dim}: {_places(largest[dim])}" for dim in order[:LOCATED]) or "none"


def _places(facts: DimLocation) -> str:
    shares = (
        ("first token", facts["first_token"]), ("first delimiter", facts["first_delimiter"]), ("elsewhere", facts["elsewhere"]),
    )  # fmt: skip
    return ", ".join(f"{name} {share:.0%}" for name, share in shares if share > 0)
