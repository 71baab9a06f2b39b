"""Every type of terms has a docstring, which says what its fields hold."""

import ast
from pathlib import Path

TERMS = Path(__file__).parents[2] / "terms"


def undocumented(source: str) -> list[str]:
    """The classes without a docstring."""
    return [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef) and not ast.get_docstring(node)]


def test_a_comment_is_not_a_docstring() -> None:
    assert undocumented("class Ends(TypedDict):  # of an interval\n    low: float") == ["Ends"]


def test_every_type_has_a_docstring() -> None:
    assert {str(path): names for path in TERMS.rglob("*.py") if (names := undocumented(path.read_text(encoding="utf-8")))} == {}
