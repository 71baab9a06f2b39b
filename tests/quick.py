"""`pytest --quick`: the tests that need no service, no browser and no torch, for the inner loop (`make quick`).

Which they are is read from the files, so that the others are not even imported: a file is left out if it, or what it imports of this
repository, imports torch or a library that loads it; a test is left out if a fixture of it is, or rests on, one that starts a program.
Tests marked `slow` are left out too.
"""

import ast
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = frozenset({"torch", "transformers", "sklearn", "altair", "accelerate", "selenium", "moto", "schemathesis"})
SERVICES = frozenset({"postgres", "own_postgres", "broker", "own_broker", "storage", "s3_endpoint", "forking", "builder", "lab"})
"""Fixtures that start a program; all others that do rest on these or are of a file that starts them itself."""
STARTERS = frozenset(
    {"app.embedded.processes", "app.embedded.children", "app.embedded.postgres", "subprocess", "multiprocessing"}
)
"""What a file that starts programs itself imports."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--quick`."""
    parser.addoption("--quick", action="store_true", help="only tests without services, browsers and torch")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out files before they are imported, and folders with a conftest.py that would import modules of the others."""
    if not config.getoption("--quick"):
        return None
    if (fixtures := collection_path / "conftest.py").is_file():
        return heavy(fixtures) or None
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    return True if heavy(collection_path) or STARTERS & imported(collection_path, anywhere=True) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out tests by their fixtures and marks."""
    if config.getoption("--quick"):
        items[:] = [item for item in items if is_quick(item)]


def is_quick(item: pytest.Item) -> bool:
    """Whether the test starts nothing and is not marked as taking long."""
    marked = any(item.get_closest_marker(name) for name in ("slow", "long", "chaos", "gpu"))
    return not marked and not SERVICES & set(getattr(item, "fixturenames", ()))


@cache
def imported(path: Path, *, anywhere: bool = False) -> frozenset[str]:
    """The modules that importing the file imports, as dotted names; with `anywhere`, those that its functions import too."""
    found: set[str] = set()
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def heavy(path: Path) -> bool:
    """Whether importing the file, with all that it imports of this repository, may load torch."""
    return any(HEAVY & {name.partition(".")[0] for name in imported(file)} for file in reached(path))


def reached(path: Path) -> set[Path]:
    """The file and the files of this repository that it imports, directly or through others."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += files(file)
    return found


@cache
def files(path: Path) -> tuple[Path, ...]:
    """The files of this repository that importing the file imports itself."""
    stems = [ROOT.joinpath(*name.split(".")) for name in imported(path)]
    return tuple(one for stem in stems for one in (stem.with_suffix(".py"), stem / "__init__.py") if one.is_file())
