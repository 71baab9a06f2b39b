"""openapi.json is valid OpenAPI 3.1; a client generator accepts it without a warning, and the generated client can be imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.openapi import FILE

GENERATOR = "openapi-python-client==0.29.1"
VALIDATOR = "openapi-spec-validator==0.9.0"
"""The schema of OpenAPI 3.1 itself. `redocly lint` needs Node and was not run."""
UNREACHABLE = ("No matching distribution", "Could not fetch", "Failed to establish", "Connection")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_python_client_is_generated_without_a_warning(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    installed = subprocess.run([str(python), "-m", "pip", "install", "-q", GENERATOR, VALIDATOR], capture_output=True, text=True)
    if installed.returncode != 0 and any(sign in installed.stderr for sign in UNREACHABLE):
        pytest.skip("NOT RUN: the package index cannot be reached")
    assert installed.returncode == 0, installed.stderr
    valid = subprocess.run([str(environment / "bin" / "openapi-spec-validator"), str(FILE)], capture_output=True, text=True)
    assert valid.returncode == 0, valid.stdout + valid.stderr
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    command = [str(environment / "bin" / "openapi-python-client"), "generate", "--path", str(FILE), "--meta", "none"]
    done = subprocess.run(
        [*command, "--output-path", str(tmp_path / "made"), "--config", str(tmp_path / "config.yml"), "--fail-on-warning"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    names = "import made, made.api.calibrations.submit_calibration, made.api.jobs.get_job, made.models"
    subprocess.run([str(python), "-c", names], cwd=tmp_path, check=True)
