"""Pages of a result file that holds one JSON object a line, filtered, without holding the file in memory."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from app.jobs.models import Artifact
from app.storage.base import Storage, key_of

Line = dict[str, Any]


async def page(
    storage: Storage, file: Artifact, wanted: Mapping[str, Any], cursor: int, limit: int
) -> tuple[list[Line], str | None]:
    """At most `limit` matching lines from line number `cursor` on, and the cursor of the next page.

    `wanted` names fields and the values they must have; `field>=` and `field<=` compare, `field in` takes a set; None asks for nothing.
    """
    asked = {name: value for name, value in wanted.items() if value is not None}
    items: list[Line] = []
    number = -1
    async for raw in _lines(storage, file):
        number += 1
        if number < cursor:
            continue
        line = json.loads(raw)
        if not _matches(line, asked):
            continue
        if len(items) == limit:
            return items, str(number)
        items.append(line)
    return items, None


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
