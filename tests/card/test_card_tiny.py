"""The whole GPU card on a CPU at tiny sizes, in a Python that cannot import the service: every part runs to its end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu.card import service
from tests.gpu.card.parts import PARTS

pytestmark = pytest.mark.timeout(900)  # each test starts programs that import torch, which is slow on a busy machine
ROOT = Path(__file__).parents[2]
FORBIDDEN = (
    *("app", "alembic", "celery", "fastapi", "kombu"),
    *("psycopg", "pydantic", "pydantic_settings", "redis", "sqlalchemy", "structlog"),
)
# Read by Python at its start, in the card and in every process that it starts
BAN = f"""
import sys


class Ban:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (a GPU's machine has nothing of the service)", name=name)


sys.meta_path.insert(0, Ban())
"""


def test_every_part_runs_to_its_end_on_a_cpu_without_the_service(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BAN)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.gpu.card", "--device", "cpu", "--tiny", "--minutes", "8", "--out", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    page = (tmp_path / "card.md").read_text()
    assert page.splitlines()[0] == f"0 of {len(PARTS)} parts failed", page + ran.stderr
    assert ran.returncode == 0
    found = json.loads((tmp_path / "card.json").read_text())
    assert [part["part"]["name"] for part in found["parts"]] == [part.name for part in PARTS]
    assert all(part["state"] == "passed" and part["entries"] for part in found["parts"])
    assert list(found["service_tests"]) == service.names()
    assert all(state == "not run: needs a CUDA device" for state in found["service_tests"].values())


def test_a_missing_device_fails_the_first_part_and_no_other_part_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu.card", "--device", "cuda:77", "--out", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (tmp_path / "card.md").read_text().splitlines()
    assert ran.returncode == 1
    assert lines[0].startswith(f"1 of {len(PARTS)} parts failed (machine); not run: steered, memory, ")
    assert any("Traceback" in line for line in lines)


def test_the_reason_is_given_where_the_service_s_tests_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BAN)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    assert "(a GPU's machine has nothing of the service)" in service.cannot_import()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert service.cannot_import() == ""
