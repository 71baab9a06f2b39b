"""tests/README.md names the tests of each package, and only folders that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)?)`", (ROOT / "tests" / "README.md").read_text(encoding="utf-8")))


def test_every_package_is_named() -> None:
    rooms = {f"{top}/{one.parent.name}" for top in ("app", "workers") for one in (ROOT / top).glob("*/__init__.py")}
    assert rooms
    assert rooms | {"terms", "binnacle", "tools"} <= NAMED


def test_every_folder_named_is_there() -> None:
    assert [one for one in sorted(NAMED) if not (ROOT / one).is_dir()] == []
