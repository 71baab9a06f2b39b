"""`make demo-real`, as a reader of the README runs it. Five minutes, so not in `make test`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.conftest import available
from tests.real.models import SMOLLM2
from tests.services import make_folder
from tools.demo_real import DOSES, METHODS, QUESTIONS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def test_it_shows_proofs_a_calibration_and_doses_side_by_side() -> None:
    available(SMOLLM2)
    environment = {**os.environ, "BINNACLE_HOME": str(make_folder() / "data"), "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-m", "tools.demo_real"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for said in ("paths agree", "ratio_to_median", *METHODS, *(f"{dose:g}" for dose in DOSES), *QUESTIONS):
        assert said in done.stdout
    assert re.search(rf"{SMOLLM2.name}\W+mild", done.stdout), "the table of severity"
    answers = [line for line in done.stdout.splitlines() if "unsteered" in line]
    assert len(answers) == len(QUESTIONS)
