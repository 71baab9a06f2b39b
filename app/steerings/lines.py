"""Pages of a result file that holds one JSON object a line, filtered, without holding the file in memory."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Protocol

from app.storage.base import Storage, key_of
from terms.values import JsonObject

Line = JsonObject
MOST_NEEDLES = 8


class File(Protocol):
    """A stored file: its SHA-256 and how many bytes it has."""

    @property
    def digest(self) -> str: ...

    @property
    def size(self) -> int: ...


async def page(storage: Storage, file: File, wanted: Mapping[str, Any], cursor: int, limit: int) -> tuple[list[Line], str | None]:
    """At most `limit` matching lines from line number `cursor` on, and the cursor of the next page.

    `wanted` names fields and the values they must have; `field>=` and `field<=` compare, `field in` takes a set; None asks for nothing.
    """
    items: list[Line] = []
    async for number, line in scan(storage, file, wanted, cursor):
        if len(items) == limit:
            return items, str(number)
        items.append(line)
    return items, None


async def scan(storage: Storage, file: File, wanted: Mapping[str, Any], first: int = 0) -> AsyncIterator[tuple[int, Line]]:
    """Every matching line from line number `first` on, with its number. `wanted`: as `page` takes it."""
    asked = {name: value for name, value in wanted.items() if value is not None}
    needles = _needles(asked)
    before = 0
    async for block in _blocks(storage, file):
        for number, raw in _holding(block, needles):
            if before + number >= first and _matches(line := json.loads(raw), asked):
                yield before + number, line
        before += block.count(b"\n") + 1


def _holding(block: bytes, needles: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that hold one of the needles, each with its number in the block; all lines without needles."""
    if not needles:
        yield from enumerate(block.split(b"\n"))
        return
    places = {needle: block.find(needle) for needle in needles}
    number = end = 0
    while found := [place for place in places.values() if place >= 0]:
        start = block.rfind(b"\n", 0, min(found)) + 1
        number += block.count(b"\n", end, start)
        end = block.find(b"\n", start)
        yield number, block[start:] if end < 0 else block[start:end]
        if end < 0:
            return
        places = {needle: place if place < 0 or place > end else block.find(needle, end) for needle, place in places.items()}


def _needles(asked: Mapping[str, Any]) -> list[bytes]:
    """What a line of these runs must hold, so that lines of other runs need not be read; empty where that would not save anything."""
    runs = [asked["run"]] if "run" in asked else list(asked.get("run in", ()))
    return [json.dumps(one, ensure_ascii=False).encode() for one in runs] if len(runs) <= MOST_NEEDLES else []


def _matches(line: Line, asked: Mapping[str, Any]) -> bool:
    for name, value in asked.items():
        field = name.removesuffix(" in").rstrip("<>=")
        found = line.get(field, (line.get("vector") or {}).get(field))
        if name.endswith(">="):
            if found is None or found < value:
                return False
        elif name.endswith("<="):
            if found is None or found > value:
                return False
        elif name.endswith(" in"):
            if found not in value:
                return False
        elif found != value:
            return False
    return True


async def _blocks(storage: Storage, file: File) -> AsyncIterator[bytes]:
    """The file in blocks of whole lines, without the end of the last line of each."""
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
