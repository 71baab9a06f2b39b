"""A variable's name says what it holds: neither `one` nor `found`, but for the pair of `one` and `other`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLAND = {"one", "found"}


def bland(source: str) -> list[str]:
    """`name (line)` of each variable and parameter with a name that could be anything's."""
    bound = [
        (node.lineno, node.id if isinstance(node, ast.Name) else node.arg)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    ]
    beside_other = {line for line, name in bound if name == "other"}
    return [f"{name} ({line})" for line, name in bound if name in BLAND and not (name == "one" and line in beside_other)]


def test_what_counts_as_bland() -> None:
    assert bland("for one in jobs: pass\nfound = [job for job in jobs]\nlambda one: one.id\none, other = pair") == [
        "one (1)",
        "found (2)",
        "one (3)",
    ]


@pytest.mark.parametrize("package", ["app", "workers", "terms", "binnacle"])
def test_names_say_what_they_hold(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert [f"{file.relative_to(ROOT)}: {name}" for file in files for name in bland(file.read_text())] == []
