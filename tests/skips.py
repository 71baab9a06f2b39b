"""Only the skips on a committed list are allowed: any other is a failure, so that a test that runs nowhere is noticed.

tests/skips.txt has a line for each: a pattern of node ids, ` : `, and a pattern of the reason.
"""

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("skips.txt")


def allowed(node: str, reason: str, lines: list[str]) -> bool:
    """Whether a line of the list allows this test to be skipped for this reason."""
    pairs = [line.split(" : ", maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return any(fnmatch(node, tests) and fnmatch(reason, why) for tests, why in pairs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turns a skip that is not on the list into a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        where, line, reason = report.longrepr
        reason = reason.removeprefix("Skipped: ")
        if not allowed(item.nodeid, reason, LIST.read_text().splitlines()):
            report.outcome = "failed"
            report.longrepr = f"{where}:{line}: skipped for a reason that tests/skips.txt does not list: {reason}"
    return report
