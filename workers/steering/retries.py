"""Decides which cells (stored partial results) of an earlier job a retried job may reuse.

All cells if the specs are equal; a steering's texts also if the specs differ only in the scoring, and with them what says how they were
computed.

Imports no torch, because jobs call this before a model is loaded.
"""

from collections.abc import Mapping

from workers.job import HOW_COMPUTED

TEXTS = "texts/"
"""Prefix of the cells that hold a model's texts before they are scored."""

SCORING = ("judge", "coherence_threshold")
"""Fields of a spec that change the scores of texts, but never the texts of a run."""


def texts_cell(run: str) -> str:
    """The name of the cell that holds a run's texts."""
    return f"{TEXTS}{run}"


def may_take(cell: str, *, earlier: Mapping[str, object], spec: Mapping[str, object]) -> bool:
    """Whether a job of `spec` may reuse this cell of a job with the spec `earlier`."""
    return earlier == spec or ((cell.startswith(TEXTS) or cell in HOW_COMPUTED) and _unscored(earlier) == _unscored(spec))


def _unscored(spec: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in spec.items() if key not in SCORING}
