"""What passes between the parts of the service is typed: values that mypy does not check are rare."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UNCHECKED = {("typing", "Any"), ("typing", "cast"), ("builtins", "object"), ("terms.values", "JsonField")}
"""Module and name of what mypy does not check."""


def unchecked(sources: Mapping[str, str]) -> int:
    """How often these modules name something unchecked, or an alias of it from one of these modules; imports aside."""
    trees = {module: ast.parse(source) for module, source in sources.items()}
    known = set(UNCHECKED)
    while True:
        uses = {module: _uses(module, tree, known) for module, tree in trees.items()}
        aliases = {
            (module, name)
            for module, tree in trees.items()
            for name, value in _assigned(tree)
            if uses[module] & {*ast.walk(value)}
        }
        if aliases <= known:
            return sum(map(len, uses.values()))
        known |= aliases


def _uses(module: str, tree: ast.Module, known: set[tuple[str, str]]) -> set[ast.AST]:
    """The nodes that name something in `known`."""
    meant = {"object": ("builtins", "object"), **{name: (module, name) for own, name in known if own == module}}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            meant |= {name.asname or name.name: (node.module or "", name.name) for name in node.names}
        elif isinstance(node, ast.Import):
            meant |= {name.asname or name.name: ("", name.name) for name in node.names}

    attributes = {name for _, name in known}

    def named(node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute) and node.attr in attributes:
            return (".".join(meant.get(ast.unparse(node.value), ())).strip("."), node.attr) in known
        return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and meant.get(node.id) in known

    return set(filter(named, ast.walk(tree)))


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Each name that the module assigns without a type of its own, with what is assigned: `X = ...`, `X: TypeAlias = ...`, `type X = ...`."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.annotation).endswith("TypeAlias"):
            yield ast.unparse(node.target), node.value
        elif type(node).__name__ == "TypeAlias":  # Python 3.12 and later
            yield ast.unparse(node.name), node.value


def test_what_is_counted() -> None:
    assert unchecked({"a": "from typing import Any, cast\nx: dict[str, Any] = cast(object, 1)\ny: int = 2"}) == 3
    assert unchecked({"a": "import typing\nfrom sqlalchemy import cast\nx: typing.Any = cast(1, int)"}) == 1


@pytest.mark.parametrize("alias", ["Shown = dict[str, object]", "Shown: TypeAlias = dict[str, object]"])
def test_an_alias_is_as_unchecked_as_what_it_stands_for(alias: str) -> None:
    """In its own module, in others that import it or its module, and in further aliases."""
    sources = {
        "pages.shown": f"from typing import TypeAlias\n{alias}\nMany = list[Shown]\ndef f() -> Shown: ...",
        "pages.home": "from pages.shown import Many as All, Shown\ndef f(x: Shown) -> All: ...",
        "pages.jobs": "from pages import shown\nimport pages.shown\nx: shown.Shown = f()\ny: pages.shown.Many",
        "pages.other": "Shown = dict[str, int]\nx: Shown = {}",
    }
    assert unchecked(sources) == 1 + 1 + 1 + 2 + 2


@pytest.mark.parametrize("package", ["app", "workers", "terms"])
def test_few_values_are_unchecked(package: str) -> None:
    """At most four in a thousand lines."""
    files = [file.relative_to(ROOT) for file in (ROOT / package).rglob("*.py")]
    sources = {".".join(file.with_suffix("").parts).removesuffix(".__init__"): (ROOT / file).read_text() for file in files}
    count, lines = unchecked(sources), sum(source.count("\n") for source in sources.values())
    assert count <= 4 * lines / 1000
