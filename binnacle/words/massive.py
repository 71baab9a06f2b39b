"""What a calibration calls massive, read alike from files of every schema (docs/science.md, 2.4).

Schema 2 lists dims by layer (`massive_by_layer`). A file of schema 1 has one list, used at every layer; the rule that it calls `massive` is
`ratio10-3layers`, and no later file writes that name. Plain data: whoever reads calibration.json asks here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA_VERSION = 2
"""Of calibration.json."""
DEFAULT_RULE = "peeling"
RULES = ("peeling", "ratio10-3layers", "top5-3layers", "all", "sun")
RULES_IN_WORDS = f"{', '.join(RULES)}, ratio:R or peel:S"
ALIAS = "massive"
"""Accepted at submit for the default rule."""
PATTERN = rf"^({ALIAS}|{'|'.join(RULES)}|ratio:[0-9]+(\.[0-9]+)?|peel:0\.[0-9]*[1-9][0-9]*)$"


def stored_rule(asked: str) -> str:
    """The name under which a spec and a file keep the rule that was asked for."""
    return DEFAULT_RULE if asked == ALIAS else asked


def rule_of(aggregate: Mapping[str, Any]) -> str:
    """The rule behind the list of a calibration's `aggregate`, by its present name."""
    return present_name(aggregate["massive_dims"]["rule"])


def present_name(written: str) -> str:
    """The present name of a rule as a file of any schema writes it."""
    return "ratio10-3layers" if written == ALIAS else written


def listed(aggregate: Mapping[str, Any]) -> list[int]:
    """Every dim that is massive at some layer, in the list's order."""
    return list(aggregate["massive_dims"]["dims"])


def massive_at(aggregate: Mapping[str, Any], layer: int) -> list[int]:
    """The dims that are massive at a layer, in the list's order. A layer that was not captured has the whole list."""
    by_layer: Mapping[str, Sequence[int]] = aggregate.get("massive_by_layer", {})
    return list(by_layer.get(str(layer), listed(aggregate)))
