"""Files that take longest go first, so that the processes of a run end together.

tests/file_times.txt has a line for each file of some seconds, `SECONDS PATH`. Files that it does not name follow in their own order.
`PYTEST_ADDOPTS=--file-times make test` writes it anew. Processes take files in the order of collection only with xdist's
`--no-loadscope-reorder`, which `make test` says.
"""

from collections import Counter
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("file_times.txt")
LEAST = 5
"""Seconds below which a file's place does not matter."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--file-times`."""
    parser.addoption("--file-times", action="store_true", help="write how long each file took to tests/file_times.txt")


def seconds_by_file(lines: list[str]) -> dict[str, int]:
    """Seconds by path, from the lines of the list."""
    return {path: int(seconds) for seconds, path in (line.split() for line in lines)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of the longest files first. The order within a file stays."""
    seconds = seconds_by_file(LIST.read_text().splitlines())
    items.sort(key=lambda item: -seconds.get(file_of(item.nodeid), 0))


def file_of(node: str) -> str:
    """The file of a node id."""
    return node.split("::", maxsplit=1)[0]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Writes the list, where it was asked for."""
    if not config.getoption("--file-times"):
        return
    took: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                took[file_of(report.nodeid)] += report.duration
    LIST.write_text("".join(f"{round(seconds)} {path}\n" for path, seconds in took.most_common() if seconds >= LEAST))
