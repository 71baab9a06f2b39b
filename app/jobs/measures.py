"""Doses and gains in stored results: the symbols that results are stored under, and the names that the API sends beside them."""

from app.http.renamed import with_new_names
from terms.values import JsonObject

NAMES = {
    "r": "dose",
    "r_raw": "raw_dose",
    "r_sum": "dose_sum",
    "c": "coefficient",
    "delta": "gain",
    "delta_low": "gain_low",
    "delta_high": "gain_high",
    "delta_bounds": "gain_bounds",
    "delta_joint": "joint_gain",
    "delta_joint_low": "joint_gain_low",
    "delta_joint_high": "joint_gain_high",
}
"""By symbol; `docs/glossary.md` says what each is."""


def with_names(result: JsonObject) -> JsonObject:
    """A result, or a part of one, with both."""
    return with_new_names(result, NAMES)
