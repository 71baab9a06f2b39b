"""A package's README names every file of the package, and no other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READMES = sorted(path for package in ("app", "workers") for path in (ROOT / package).rglob("README.md"))
NAMED = re.compile(r"`([a-z_0-9]+)(?:\.py|/)?`")


def named(readme: Path) -> set[str]:
    """The modules and folders in the first columns of its tables."""
    rows = [line.split("|")[1] for line in readme.read_text().splitlines() if line.startswith("| `")]
    return {name for row in rows for name in NAMED.findall(row)}


def held(package: Path) -> set[str]:
    """The modules and folders of the package."""
    modules = {path.stem for path in package.glob("*.py") if path.name != "__init__.py"}
    return modules | {path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}


@pytest.mark.parametrize("readme", READMES, ids=[str(path.relative_to(ROOT)) for path in READMES])
def test_the_table_of_files_is_the_package_s(readme: Path) -> None:
    assert named(readme) == held(readme.parent)
