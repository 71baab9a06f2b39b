"""The service's own tests in tests/gpu: run where the service's packages can be imported, and listed either way."""

import ast
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from tests.gpu.card.record import Record, Setup

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parents[1]


def names() -> list[str]:
    """Every test, as `file::function`."""
    found = []
    for file in sorted(TESTS.glob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [
            f"{file.name}::{node.name}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
    return found


def run(setup: Setup, record: Record) -> None:
    """Run all but the long ones."""
    reason = "" if setup.cuda else "needs a CUDA device"
    reason = reason or cannot_import()
    if reason:
        for name in names():
            record.listed(name, f"not run: {reason}")
        return
    states = _pytest()
    for name in names():
        collected = states.get(name.partition("::")[0], "not run: it is long; run `python -m pytest tests/gpu`")
        state = states.get(name, collected)
        record.listed(name, state, ok=not state.startswith("failed"))


def cannot_import() -> str:
    """Why the tests' fixtures cannot be imported here; empty where they can."""
    tried = subprocess.run(
        [sys.executable, "-c", "import pytest, tests.gpu.conftest, tests.services"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return tried.stderr.strip().splitlines()[-1] if tried.returncode else ""


def _pytest() -> dict[str, str]:
    """The state of each test that pytest ran or skipped."""
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "tests/gpu", "-m", "not long", "-q", "-n", "0", "-p", "no:cacheprovider"]
        command += ["--continue-on-collection-errors"]
        subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT, check=False)
        return states_in(report.read_text(encoding="utf-8"))


def states_in(junit: str) -> dict[str, str]:
    """`file::function` -> "passed", "failed: why" or "not run: why", from pytest's report; `file` alone where it could not be imported."""
    found = {}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        where, what = case.get("classname", "").split(".")[-1], case.get("name", "").split("[")[0]
        name = f"{where}.py::{what}" if where else f"{what.split('.')[-1]}.py"
        state = "passed"
        for outcome in case:
            if outcome.tag in ("failure", "error"):
                state = f"failed: {outcome.get('message')}"
            elif outcome.tag == "skipped":
                state = f"not run: {outcome.get('message')}"
        if not found.get(name, "").startswith("failed"):  # the cases of a test have one name: the first failure stays
            found[name] = state
    return found
