"""A `binnacle demo` that fails says why, exits with 1 and leaves nothing running. `.ci/run` runs one that succeeds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.embedded.commands import MARK
from app.embedded.processes import carrying
from tests.services import make_folder

ROOT = Path(__file__).resolve().parent.parent


def run_demo(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", "demo", "--home", str(home), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "reason"),
    [
        (("--model", "demo-imagined"), {}, "demo-severe"),
        ((), {"DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}, "database_unreachable"),
    ],
    ids=["a model that is not shipped", "a database that is away"],
)
def test_a_demo_that_cannot_end_well_says_why_and_stops_everything(
    arguments: tuple[str, ...], environment: dict[str, str], reason: str
) -> None:
    home = make_folder() / "data"
    done = run_demo(home, *arguments, **environment)
    assert done.returncode == 1
    assert reason in done.stderr
    assert done.stdout == ""
    assert carrying(f"{MARK}={home}") == []
