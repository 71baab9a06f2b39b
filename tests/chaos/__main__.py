"""`make chaos`: runs the whole fault suite, prints its table and writes it to docs/faults.md.

Arguments go to pytest, and then the page is not written.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from app.settings import LeaseSettings
from tests.chaos.ledger import FOLDER, Ledger, as_markdown, as_table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"
PYTEST = [
    "-m",
    "chaos",
    "-n",
    "4",
    "--dist",
    "loadfile",
    "--timeout",
    "900",
    "-q",
    "--no-header",
    "-o",
    "addopts=-ra",
    "--strict-markers",
]
"""Four files at a time on two cores: the suite mostly waits."""


def main(arguments: list[str]) -> int:
    """pytest's exit status."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", *PYTEST, *(arguments or _files())]
        status = subprocess.run(command, env={**os.environ, FOLDER: folder}).returncode
        lines = Ledger(Path(folder)).lines()
    took = time.monotonic() - began
    console = Console(width=150)
    console.print(as_table(lines))
    console.print(f"{took / 60:.1f} minutes, pytest's exit status {status}")
    if not arguments:
        lease = LeaseSettings()
        commit = subprocess.run(
            ["git", "rev-parse", "--short=8", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip()
        leases = f"Leases of {lease.ttl:.0f} s, swept every {lease.sweep:.0f} s, as the service ships."
        PAGE.write_text(as_markdown(lines, took, f"Commit {commit or 'unknown'}. {leases}"))
        console.print(f"written to {PAGE}")
    return status


def _files() -> list[str]:
    """The files with tests of the suite. Were pytest to look for them, each of its processes would import every file, which takes minutes."""
    return sorted(str(file) for file in ROOT.glob("tests/**/test_*.py") if "mark.chaos" in file.read_text())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
