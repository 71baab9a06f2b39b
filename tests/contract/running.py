"""Runs one phase of Schemathesis with the committed openapi.json against an API process."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.openapi import FILE
from tests.api.process import ROOT, ApiProcess

HERE = Path(__file__).parent
OWNER = "root"
"""The user with the key of the run."""
PROGRAM = Path(sys.executable).with_name("schemathesis")


@dataclass(frozen=True)
class Report:
    """The result of one phase: exit status, printed text, and `facts` from Schemathesis' JSON report."""

    phase: str
    returncode: int
    output: str
    facts: dict[str, Any]


def run_phase(api: ApiProcess, key: str, phase: str, folder: Path, *options: str) -> Report:
    """Runs all checks in one phase, such as `fuzzing`, with this key; reports go to `folder`."""
    told = folder / f"{phase}.json"
    command = [str(PROGRAM), "--config-file", str(HERE / "schemathesis.toml"), "run", str(FILE), "--url", api.url]
    command += ["--header", f"Authorization: Bearer {key}", "--phases", phase, "--checks", "all", "--continue-on-failure"]
    command += ["--report", "json", "--report-json-path", str(told), *options]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.contract.hooks",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }
    said = folder / f"{phase}.txt"
    with said.open("wb") as out:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=out, stderr=out)
    facts = json.loads(told.read_text()) if told.exists() else {}
    return Report(phase, done.returncode, said.read_text(), facts)
