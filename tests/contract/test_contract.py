"""The API does what openapi.json says: every check of Schemathesis passes, with an administrator's key, against a real API process.

README.md says which phases run and how often.
"""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.process import ApiProcess
from tests.contract.contents import fill
from tests.contract.running import Report, run_phase

SOME = ("--include-path-regex", "^/v1/(jobs|keys)")
QUICK = {"examples": (), "coverage": SOME, "fuzzing": ("--max-examples", "3"), "stateful": ("--max-examples", "8")}
"""The phases of every test run, with options that limit their size; a fixed seed makes the cases the same each time."""
# follows the links between operations, so that one request uses ids from the answer to another
LINKED = ("stateful", ("--max-examples", "300"))
WHOLE = [("examples", ()), ("coverage", ()), ("fuzzing", ("--max-examples", "150")), *[LINKED] * 6]
"""The phases of the long run. LINKED runs several times, because its seed decides how far one run gets."""
LEAST = 10_000


def checked(api: ApiProcess, admin: httpx2.Client, phase: str, folder: Path, *options: str) -> Report:
    """Fills the API, runs the phase, and returns its report; the phase must be complete and without failures."""
    fill(api, admin)
    key = admin.headers["Authorization"].removeprefix("Bearer ")
    report = run_phase(api, key, phase, folder, *options)
    assert report.facts.get("complete"), report.output[-5000:]
    assert report.returncode == 0, report.output[-20_000:]
    assert api.complaints() == []
    return report


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("phase", QUICK)
def test_the_api_conforms_to_its_description(api: ApiProcess, admin: httpx2.Client, tmp_path: Path, phase: str) -> None:
    report = checked(api, admin, phase, tmp_path, "--seed", "20261125", *QUICK[phase])
    assert report.facts["test_cases"]["generated"] > 20


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_at_least_ten_thousand_cases_pass(
    api: ApiProcess, admin: httpx2.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All phases at full size: `pytest -m long tests/contract`. README.md shows the table it prints."""
    reports = [checked(api, admin, phase, tmp_path, *options) for phase, options in WHOLE]
    with capsys.disabled():
        print(table(reports))  # noqa: T201
    assert sum(cases(report) for report in reports) >= LEAST


def cases(report: Report) -> int:
    """The number of requests that were made and checked."""
    return int(report.facts["test_cases"]["generated"])


def table(reports: list[Report]) -> str:
    """The reports as a Markdown table."""
    rows = ["| phase | cases | failures | seconds | seed |", "|---|---:|---:|---:|---:|"]
    for report in reports:
        facts: dict[str, Any] = report.facts
        failures, seconds = facts["test_cases"]["with_failures"], facts["running_time"]
        rows.append(f"| {report.phase} | {cases(report):,} | {failures} | {seconds:,.0f} | {facts['seed']} |")
    return "\n".join(rows)
