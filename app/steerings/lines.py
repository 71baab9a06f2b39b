"""Reads pages of a result file with one JSON object per line, all lines or a selection, without holding the file in memory.

A file of hundreds of megabytes is read for each page, so most lines are not parsed: when runs are named, lines that contain none of the names
as bytes are skipped.
"""

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from app.storage.base import Storage, key_of
from terms.documents.runs import AnswerLine, RunLine

Line = TypeVar("Line", RunLine, AnswerLine)
"""A line of runs.jsonl or of responses.jsonl."""
MOST_NAMES = 8
"""Most names of runs that are searched as bytes; with more names, parsing every line is faster."""


class File(Protocol):
    """A stored file: its SHA-256 and size in bytes."""

    @property
    def digest(self) -> str: ...

    @property
    def size(self) -> int: ...


@dataclass(frozen=True)
class Wanted:
    """A selection of lines: those that meet all conditions. None means no condition.

    A field belongs to the line or, if the line lacks it, to its `vector`.
    """

    equal: Mapping[str, str | int | None] = field(default_factory=dict)
    """Required values by field."""
    at_least: Mapping[str, float | None] = field(default_factory=dict)
    """Minimum values by field; a line with None in the field is excluded."""
    at_most: Mapping[str, float | None] = field(default_factory=dict)
    """Maximum values by field; a line with None in the field is excluded."""
    runs: Collection[str] | None = None
    """Names of the runs to include."""

    def includes(self, line: Mapping[str, Any]) -> bool:
        """Returns whether the line is selected."""
        if self.runs is not None and line.get("run") not in self.runs:
            return False
        if any(value is not None and _field(line, name) != value for name, value in self.equal.items()):
            return False
        low = {name: value for name, value in self.at_least.items() if value is not None}
        high = {name: value for name, value in self.at_most.items() if value is not None}
        of_line = {name: _field(line, name) for name in (*low, *high)}
        return (
            None not in of_line.values()
            and all(of_line[name] >= value for name, value in low.items())
            and all(of_line[name] <= value for name, value in high.items())
        )

    def names(self) -> Sequence[bytes]:
        """Returns the names of runs as bytes; every selected line contains one of them. Empty if searching for them saves no time."""
        run = self.equal.get("run")
        runs: Collection[str | int] = (self.runs or ()) if run is None else (run,)
        return [json.dumps(name, ensure_ascii=False).encode() for name in runs] if len(runs) <= MOST_NAMES else []


EVERY = Wanted()


@dataclass(frozen=True)
class Lines(Generic[Line]):
    """The lines of a stored file, numbered from 0."""

    storage: Storage
    file: File
    read: Callable[[bytes], Line]

    async def page(self, wanted: Wanted, cursor: int, limit: int) -> tuple[list[Line], str | None]:
        """Returns at most `limit` selected lines from line number `cursor` on, and the cursor of the next page."""
        items: list[Line] = []
        async for number, line in self.scan(wanted, cursor):
            if len(items) == limit:
                return items, str(number)
            items.append(line)
        return items, None

    async def every(self, wanted: Wanted = EVERY) -> list[Line]:
        """Returns all selected lines."""
        return [line async for _, line in self.scan(wanted)]

    async def scan(self, wanted: Wanted, first: int = 0) -> AsyncIterator[tuple[int, Line]]:
        """Yields each selected line from line number `first` on, with its number."""
        names = wanted.names()
        before = 0
        async for block in _blocks(self.storage, self.file):
            for number, raw in _holding(block, names):
                if before + number >= first and wanted.includes(line := self.read(raw)):
                    yield before + number, line
            before += block.count(b"\n") + 1


def _field(line: Mapping[str, Any], name: str) -> Any:
    """Returns the value of the field in the line or in its vector; None if neither has it."""
    return line.get(name, (line.get("vector") or {}).get(name))


def _holding(block: bytes, names: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yields the lines that contain one of the names, with their number in the block; all lines if there are no names."""
    if not names:
        yield from enumerate(block.split(b"\n"))
        return
    places = {name: block.find(name) for name in names}
    number = end = 0
    while hits := [place for place in places.values() if place >= 0]:
        start = block.rfind(b"\n", 0, min(hits)) + 1
        number += block.count(b"\n", end, start)
        end = block.find(b"\n", start)
        yield number, block[start:] if end < 0 else block[start:end]
        if end < 0:
            return
        places = {name: place if place < 0 or place > end else block.find(name, end) for name, place in places.items()}


async def _blocks(storage: Storage, file: File) -> AsyncIterator[bytes]:
    """Yields the file in blocks of whole lines, without the last line end of each block."""
    rest = b""
    if file.size == 0:
        return
    async for chunk in storage.astream(key_of(file.digest), 0, file.size):
        whole, end, last = chunk.rpartition(b"\n")
        if end:
            yield rest + whole
            rest = b""
        rest += last
    if rest:
        yield rest
