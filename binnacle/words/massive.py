"""Reads which dims a calibration calls massive, from files of every schema (docs/science.md, 2.4).

Schema 2 lists dims by layer (`massive_by_layer`). A file of schema 1 has one list, used at every layer; its rule named `massive` is now
`ratio10-3layers`, and no later file uses the old name. Works on plain data; all readers of calibration.json use this module.
"""

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA_VERSION = 2
"""Schema version of calibration.json."""
LIMITS = (10.0, 100.0)
"""Ratios to the median from which a model is mild and severe; a ratio is shown with enough digits to tell on which side it lies."""
DEFAULT_RULE = "peeling"
RULES = ("peeling", "ratio10-3layers", "top5-3layers", "all", "sun")
RULES_IN_WORDS = f"{', '.join(RULES)}, ratio:R or peel:S"
ALIAS = "massive"
"""Alias of the default rule, accepted at submission."""
PATTERN = rf"^({ALIAS}|{'|'.join(RULES)}|ratio:[0-9]+(\.[0-9]+)?|peel:0\.[0-9]*[1-9][0-9]*)$"


def stored_rule(asked: str) -> str:
    """Returns the name under which specs and files store the requested rule."""
    return DEFAULT_RULE if asked == ALIAS else asked


def rule_of(aggregate: Mapping[str, Any]) -> str:
    """Returns the present name of the rule behind the list in a calibration's `aggregate`."""
    return present_name(aggregate["massive_dims"]["rule"])


def present_name(written: str) -> str:
    """Returns the present name of a rule in a file of any schema."""
    return "ratio10-3layers" if written == ALIAS else written


def listed(aggregate: Mapping[str, Any]) -> list[int]:
    """Returns every dim that is massive at some layer, in the list's order."""
    return list(aggregate["massive_dims"]["dims"])


def massive_at(aggregate: Mapping[str, Any], layer: int) -> list[int]:
    """Returns the dims that are massive at a layer, in the list's order; for a layer that was not captured, the whole list."""
    by_layer: Mapping[str, Sequence[int]] = aggregate.get("massive_by_layer", {})
    return list(by_layer.get(str(layer), listed(aggregate)))
