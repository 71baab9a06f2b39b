"""What passes between the parts of the service is typed: values that mypy does not check are rare."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UNCHECKED = {"Any", "object", "cast", "JsonField"}


def unchecked(source: str) -> int:
    """How often the source names `Any`, `object`, `JsonField` (an object of `Any`) or calls `cast`, imports aside."""
    return sum(isinstance(node, ast.Name) and node.id in UNCHECKED for node in ast.walk(ast.parse(source)))


def test_what_is_counted() -> None:
    assert unchecked("from typing import Any, cast\nx: dict[str, Any] = cast(object, 1)\ny: int = 2") == 3


@pytest.mark.parametrize("package", ["app", "workers", "terms"])
def test_few_values_are_unchecked(package: str) -> None:
    """At most four in a thousand lines."""
    sources = [file.read_text() for file in (ROOT / package).rglob("*.py")]
    assert sum(map(unchecked, sources)) <= 4 * sum(source.count("\n") for source in sources) / 1000
