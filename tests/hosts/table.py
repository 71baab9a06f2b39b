"""Prints a table after the tests of tests/hosts: one row per test with outcome and measurements, or NOT RUN and the reason.

The root conftest loads it as a plugin: with several test processes, only its plugins take part in the summary.
"""

import socket
from datetime import UTC, datetime

import pytest

FOLDER = "tests/hosts/"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the Markdown table that docs/hosts.md shows."""
    rows = [
        _row(report, "NOT RUN" if outcome == "skipped" else outcome)
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.getreports(outcome)
        if report.nodeid.startswith(FOLDER) and (report.when == "call" or outcome in {"error", "skipped"})
    ]
    if not rows:
        return
    terminalreporter.section("several hosts")
    terminalreporter.line(f"{datetime.now(UTC):%Y-%m-%d}, {socket.gethostname()}")
    terminalreporter.line("| what | outcome | measured |")
    terminalreporter.line("|---|---|---|")
    for row in rows:
        terminalreporter.line(row)


def _row(report: pytest.TestReport, outcome: str) -> str:
    what = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    found = "; ".join(f"{name} {value}" for name, value in report.user_properties)
    if outcome == "NOT RUN" and isinstance(report.longrepr, tuple):
        found = str(report.longrepr[2]).removeprefix("Skipped: NOT RUN: ")
    return f"| {what} | {outcome} | {found} |"
