"""tests/README.md names the tests of each package, and only folders that exist; the tests of workers lie in folders of its packages."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*)`", (ROOT / "tests" / "README.md").read_text(encoding="utf-8")))
OF_WORKERS = {one.parent.name for one in (ROOT / "workers").glob("*/__init__.py")}


def test_every_package_is_named() -> None:
    rooms = {f"{top}/{one.parent.name}" for top in ("app", "workers") for one in (ROOT / top).glob("*/__init__.py")}
    assert rooms
    assert rooms | {"terms", "binnacle", "tools"} <= NAMED


def test_every_folder_named_is_there() -> None:
    assert [one for one in sorted(NAMED) if not (ROOT / one).is_dir()] == []


def test_each_package_of_workers_has_a_named_folder_of_tests() -> None:
    named = [name for name in OF_WORKERS for one in (f"tests/ml/{name}", f"tests/{name}") if one in NAMED and files_in(one)]
    assert OF_WORKERS
    assert OF_WORKERS - set(named) == set()


def test_tests_of_the_model_side_lie_in_folders_of_packages() -> None:
    assert files_in("tests/ml") == []
    assert {one.parent.name for one in (ROOT / "tests" / "ml").glob("*/test_*.py")} <= OF_WORKERS


def files_in(folder: str) -> list[str]:
    """The names of the files of tests in a folder."""
    return sorted(one.name for one in (ROOT / folder).glob("test_*.py"))
