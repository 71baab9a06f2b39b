"""A skip that is not on the list of allowed skips (tests/skips.txt) fails the run."""

import os
import subprocess
import sys
from pathlib import Path

from tests.skips import LIST, allowed

REPOSITORY = Path(__file__).parents[1]
LINES = LIST.read_text().splitlines()


def test_a_listed_skip_is_allowed_and_any_other_test_or_reason_is_not() -> None:
    card = "needs a CUDA device, and torch sees none"
    assert allowed("tests/gpu/test_heartbeat.py::test_a", card, LINES)
    assert not allowed("tests/gpu/test_heartbeat.py::test_a", "flaky", LINES)
    assert not allowed("tests/api/test_keys.py::test_a", card, LINES)


def test_a_run_with_a_skip_that_is_not_listed_fails(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("import pytest\n\n\ndef test_it():\n    pytest.skip('some reason')\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.skips",
        "-p",
        "no:cacheprovider",
        "-q",
        str(test),
        "--rootdir",
        str(tmp_path),
    ]
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}  # of this run, not of that one
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=env)
    assert found.returncode == 1, found.stdout
    assert "does not list: some reason" in found.stdout
