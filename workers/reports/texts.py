"""Collects the answers behind the report's numbers: each number computed from a run links to that run's answers in the same file.

The answers of a large study do not fit into one file: then each run keeps the same share of its answers, evenly spaced.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.pages.results.parts import Leads
from app.pages.texts.runs import key_of, method_of, places_in, where
from terms.documents.reading import read_answers, read_runs
from terms.documents.runs import RunLine, ShownLine, without_ids
from workers.job import JobContext
from workers.reports.gathered import Cell

MOST_BYTES = 1_400_000
"""The most bytes that all answers in a report may take."""
AROUND = 70
"""Bytes of markup around an answer."""
_SOURCE = re.compile(r"(/v1/steerings/[^/]+)/responses\?run=(.+)")


class Read(Protocol):
    """Reads the runs of a steering's job, and the answers of the wanted runs, by run."""

    def __call__(self, job: str, wanted: Collection[str]) -> tuple[list[RunLine], dict[str, list[ShownLine]]]: ...


def reader(context: JobContext) -> Read:
    """A function that reads the runs and answers from the files of jobs."""

    def read(job: str, wanted: Collection[str]) -> tuple[list[RunLine], dict[str, list[ShownLine]]]:
        runs = list(read_runs(context.artifact(job, "runs.jsonl")))
        by_run: dict[str, list[ShownLine]] = {run: [] for run in wanted}
        for line in read_answers(context.artifact(job, "responses.jsonl")):
            if line["run"] in by_run:
                by_run[line["run"]].append(without_ids(line))
        return runs, by_run

    return read


class Places:
    """Returns links (`#answers-...`) to the answers of runs in the report, and remembers the runs in `asked`, by the index of the cell."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = {cell.links.get("steering", ""): at for at, cell in enumerate(cells)}
        self.asked: dict[int, dict[str, None]] = {}

    def of(self, cell: Cell) -> Leads:
        """A function that returns the link to the answers of a run of this steering; empty for an empty run."""
        at = self._cells[cell.links["steering"]]
        return lambda run: self._place(at, run) if run else ""

    def of_source(self, source: str | None) -> str:
        """The link for an API address in a table; empty unless the address lists the answers of a run of one of the cells."""
        match = _SOURCE.fullmatch(source or "")
        return "" if match is None or match[1] not in self._cells else self._place(self._cells[match[1]], match[2])

    def _place(self, at: int, run: str) -> str:
        self.asked.setdefault(at, {})[run] = None
        return f"#{place(at, run)}"


def place(cell: int, run: str) -> str:
    """The id of the element that holds the answers of a run."""
    return f"answers-{cell}-{key_of(run)}"


@dataclass(frozen=True)
class RunTexts:
    """The answers of a run: its description, the total number of answers, and the lines of the answers shown."""

    place: str
    words: str
    count: int
    lines: Sequence[ShownLine]


@dataclass(frozen=True)
class CellTexts:
    """The answers of a steering, for each of its runs behind the report's numbers."""

    title: str
    runs: Sequence[RunTexts]


def collected(cells: Sequence[Cell], places: Places, read: Read) -> list[CellTexts]:
    """The answers of every run that `places` returned a link to, about MOST_BYTES at most in total; each run keeps at least one answer."""
    steerings = []
    for at, wanted in sorted(places.asked.items()):
        cell = cells[at]
        runs, lines = read(job_of(cell), wanted)
        known, named = {str(run["run"]): run for run in runs}, places_in(runs)
        order = [run for run in known if run in wanted] + [run for run in wanted if run not in known]
        steerings.append((cell, [(place(at, run), _words(known.get(run), named), lines.get(run, [])) for run in order]))
    share = min(1.0, MOST_BYTES / max(1, sum(_size(line) for _, runs in steerings for *_, lines in runs for line in lines)))
    return [
        CellTexts(
            f"{cell.trait} on {cell.model}", [RunTexts(at, words, len(all_), sampled(all_, share)) for at, words, all_ in runs]
        )
        for cell, runs in steerings
    ]


def job_of(cell: Cell) -> str:
    """The id of the steering's job."""
    return cell.links["steering"].rsplit("/", 1)[1]


def sampled(lines: Sequence[ShownLine], share: float) -> Sequence[ShownLine]:
    """This share of the lines, evenly spaced; at least one line."""
    count = max(1, int(len(lines) * share))
    return lines if count >= len(lines) else [lines[at * len(lines) // count] for at in range(count)]


def _size(line: ShownLine) -> int:
    return AROUND + len(line["question"].encode()) + len(line["text"].encode())


def _words(run: RunLine | None, named: frozenset[str]) -> str:
    """Describes a run, such as `probe, layer 3, dose 0.6; test questions`."""
    if run is None:
        return "a run that is no longer stored"
    said = ", ".join(part for part in (method_of(run, named), where(run)) if part)
    return f"{said}; {str(run['set']).replace('_', ' ')} questions"
