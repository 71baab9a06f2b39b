"""The table of what the several hosts went through, printed after the tests: one row a test, NOT RUN and why where it could not be.

Part of the root conftest's plugins: with several test processes only those are asked for the summary.
"""

import socket
from datetime import UTC, datetime

import pytest

FOLDER = "tests/hosts/"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A Markdown table, as docs/hosts.md shows it."""
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
