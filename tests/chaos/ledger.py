"""The table of the fault suite: one line for each fault, kept in files so that tests in several processes can add to it."""

import json
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from tests.chaos.auditor import Audit

FOLDER = "CHAOS_LEDGER"
HEADINGS = (
    "fault",
    "strikes",
    "jobs",
    "lost",
    "committed twice",
    "stuck",
    "failed",
    "poison",
    "cancelled",
    "recovery p50",
    "p95",
    "until",
    "took",
)


@dataclass(frozen=True)
class Line:
    """What one fault did. Times are seconds; `failed` counts those that were not meant to."""

    fault: str
    jobs: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    failed: int = 0
    poison: int = 0
    cancelled: int = 0
    recoveries: tuple[float, ...] = ()
    until: str = ""
    took: float = 0
    note: str = ""
    not_run: str = ""

    @classmethod
    def of(cls, fault: str, found: Audit, recoveries: Iterable[float], until: str, took: float, note: str) -> "Line":
        return cls(
            fault, found.jobs, len(found.lost), len(found.doubled), len(found.stuck), len(found.failed), found.poison,
            found.cancelled, tuple(round(seconds, 2) for seconds in recoveries), until, took, note,
        )  # fmt: skip

    def cells(self) -> list[str]:
        """One string for each of HEADINGS."""
        if self.not_run:
            return [self.fault, f"NOT RUN: {self.not_run}", *[""] * (len(HEADINGS) - 2)]
        counts = (self.jobs, self.lost, self.doubled, self.stuck, self.failed, self.poison, self.cancelled)
        p50, p95 = percentiles(self.recoveries)
        return [self.fault, str(len(self.recoveries)), *map(str, counts), p50, p95, self.until, f"{self.took:.0f} s"]


def percentiles(seconds: Iterable[float]) -> tuple[str, str]:
    """p50 and p95 as text; p95 by nearest rank, so with fewer than twenty values the largest."""
    ordered = sorted(seconds)
    if not ordered:
        return "-", "-"
    return f"{statistics.median(ordered):.1f} s", f"{ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]:.1f} s"


class Ledger:
    """Lines of one run, each in a file of the folder; `number` keeps them in the order of the tests."""

    def __init__(self, folder: Path, number: int = 0) -> None:
        self._folder, self._number = folder, number

    def add(self, line: Line) -> None:
        (self._folder / f"{self._number:03}.json").write_text(json.dumps(asdict(line)))

    def lines(self) -> list[Line]:
        found = [json.loads(file.read_text()) for file in sorted(self._folder.glob("*.json"))]
        return [Line(**{**values, "recoveries": tuple(values["recoveries"])}) for values in found]


def total(lines: Iterable[Line]) -> Line:
    """The last line: sums, and percentiles over every recovery."""
    run = [line for line in lines if not line.not_run]

    def added(name: str) -> int:
        return sum(getattr(line, name) for line in run)

    names = ("jobs", "lost", "doubled", "stuck", "failed", "poison", "cancelled")
    times = tuple(seconds for line in run for seconds in line.recoveries)
    return Line("all", **{name: added(name) for name in names}, recoveries=times, took=sum(line.took for line in run))


def as_table(lines: list[Line]) -> Table:
    """For a terminal."""
    table = Table(title="Fault suite")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("fault", "until") else "right", overflow="fold")
    for line in [*lines, total(lines)]:
        table.add_row(*line.cells())
    return table


def as_markdown(lines: list[Line], seconds: float, settings: str) -> str:
    """The page that is kept: when, on what, the table, the notes."""
    rows = ["| " + " | ".join(cells) + " |" for cells in (line.cells() for line in [*lines, total(lines)])]
    rule = "|" + "|".join(" --- " if heading in ("fault", "until") else " ---: " for heading in HEADINGS) + "|"
    notes = [f"- {line.fault}: {line.note}" for line in lines if line.note]
    return "\n".join(
        [
            "# What the fault suite found",
            "",
            f"`make chaos` on {datetime.now(UTC):%Y-%m-%d}, {machine()}, in {seconds / 60:.0f} minutes. {settings}",
            "",
            "Every count comes from the database and the stored objects, by `tests/chaos/auditor.py`. *Recovery* runs from a strike (for",
            "what was away: from its return) to the next start or the end of the job that was hit, to the next commit of any job, or to the",
            "next accepted submission, as *until* says. *failed* counts jobs that failed and were not meant to.",
            "",
            "| " + " | ".join(HEADINGS) + " |",
            rule,
            *rows,
            "",
            *notes,
            "",
        ]
    )


def machine() -> str:
    """The machine in words: no name, no address."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
