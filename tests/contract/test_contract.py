"""The API does what its description says: Schemathesis over the committed openapi.json, every check, with an administrator's key.

A process of its own serves it over the real database, broker and storage. What is tried, and how often, is told in README.md.
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
"""At most so many cases an operation, or runs through the links; the same ones each time."""
LINKED = ("stateful", ("--max-examples", "300"))
WHOLE = [("examples", ()), ("coverage", ()), ("fuzzing", ("--max-examples", "150")), *[LINKED] * 6]
"""Through the links several times: how far one time gets, its seed decides."""
LEAST = 10_000


def found(api: ApiProcess, admin: httpx2.Client, phase: str, folder: Path, *options: str) -> Report:
    """The phase's report, after nothing was found."""
    fill(api, admin)
    key = admin.headers["Authorization"].removeprefix("Bearer ")
    report = run_phase(api, key, phase, folder, *options)
    assert report.facts.get("complete"), report.output[-5000:]
    assert report.returncode == 0, report.output[-20_000:]
    assert api.complaints() == []
    return report


@pytest.mark.timeout(600)
@pytest.mark.parametrize("phase", QUICK)
def test_the_api_keeps_to_its_description(api: ApiProcess, admin: httpx2.Client, tmp_path: Path, phase: str) -> None:
    report = found(api, admin, phase, tmp_path, "--seed", "20261125", *QUICK[phase])
    assert report.facts["test_cases"]["generated"] > 20


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_ten_thousand_cases(api: ApiProcess, admin: httpx2.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole: `pytest -m long tests/contract`. Its table goes into README.md."""
    reports = [found(api, admin, phase, tmp_path, *options) for phase, options in WHOLE]
    with capsys.disabled():
        print(table(reports))  # noqa: T201
    assert sum(cases(report) for report in reports) >= LEAST


def cases(report: Report) -> int:
    """Requests that were made and checked."""
    return int(report.facts["test_cases"]["generated"])


def table(reports: list[Report]) -> str:
    """What README.md shows of them."""
    rows = ["| phase | cases | failures | seconds | seed |", "|---|---:|---:|---:|---:|"]
    for report in reports:
        facts: dict[str, Any] = report.facts
        failures, seconds = facts["test_cases"]["with_failures"], facts["running_time"]
        rows.append(f"| {report.phase} | {cases(report):,} | {failures} | {seconds:,.0f} | {facts['seed']} |")
    return "\n".join(rows)
