"""Doses and gains in stored results: maps the stored symbols to the names that the API sends in addition."""

from collections.abc import Mapping
from typing import Any

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
"""Name of each symbol; `docs/glossary.md` defines them."""


def with_names(result: Mapping[str, Any]) -> JsonObject:
    """Returns a result, or a part of a result (which may be a TypedDict), with both symbols and names."""
    return with_new_names(result, NAMES)
