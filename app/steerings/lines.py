"""Pages of a result file that holds one JSON object a line, filtered, without holding the file in memory."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from app.jobs.models import Artifact
from app.storage.base import Storage, key_of

Line = dict[str, Any]
MOST_NEEDLES = 8


async def page(
    storage: Storage, file: Artifact, wanted: Mapping[str, Any], cursor: int, limit: int
) -> tuple[list[Line], str | None]:
    """At most `limit` matching lines from line number `cursor` on, and the cursor of the next page.

    `wanted` names fields and the values they must have; `field>=` and `field<=` compare, `field in` takes a set; None asks for nothing.
    """
    items: list[Line] = []
    async for number, line in scan(storage, file, wanted, cursor):
        if len(items) == limit:
            return items, str(number)
        items.append(line)
    return items, None


async def scan(storage: Storage, file: Artifact, wanted: Mapping[str, Any], first: int = 0) -> AsyncIterator[tuple[int, Line]]:
    """Every matching line from line number `first` on, with its number. `wanted`: as `page` takes it."""
    asked = {name: value for name, value in wanted.items() if value is not None}
    needles = _needles(asked)
    number = -1
    async for raw in _lines(storage, file):
        number += 1
        if number < first or (needles and not any(needle in raw for needle in needles)):
            continue
        line = json.loads(raw)
        if _matches(line, asked):
            yield number, line


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


async def _lines(storage: Storage, file: Artifact) -> AsyncIterator[bytes]:
    rest = b""
    if file.size == 0:
        return
    async for chunk in storage.astream(key_of(file.digest), 0, file.size):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest
