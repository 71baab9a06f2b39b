"""JSON bodies that cost more than their bytes, refused before they are checked field by field.

A few megabytes hold a million empty objects; to parse them, check each and list a million faults takes a gigabyte and holds every other
request up for seconds. So the values are counted where they cost nothing yet, in the bytes, and nestings in what was parsed.
"""

import re
from typing import Any

from fastapi import Request

from app.errors import Problem
from app.gate import UNSAFE

DEEPEST = 64
"""Objects and lists within one another; serialisers give up at a few hundred."""
_PIECES = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[,\[{]', re.DOTALL)
"""Strings as wholes, for the marks in them are text; and the marks before values: a bracket or, for all but the first, a comma."""


async def check_json(request: Request, most: int) -> None:
    """Raises Problem 413 `too_many_values` past `most` values, 400 `nested_too_deeply`. What is no JSON is left to whoever reads it."""
    if request.method not in UNSAFE:
        return
    raw = await request.body()
    if more_than(raw, most):
        detail = f"The body holds more than {most:,} values in its lists and objects, which is what this server takes. Send less at once."
        raise Problem(413, "too_many_values", detail)
    if raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return
    try:
        depth = _depth(await request.json())
    except RecursionError:
        depth = DEEPEST + 1
    except ValueError:
        return
    if depth > DEEPEST:
        detail = f"The body nests objects and lists more than {DEEPEST} deep, which no request needs."
        raise Problem(400, "nested_too_deeply", detail)


def more_than(raw: bytes, most: int) -> bool:
    """Whether there are more values than that in these bytes of JSON, near enough; sound JSON has two strings a value at most."""
    if sum(raw.count(mark) for mark in (b",", b"[", b"{", b'"')) <= most:
        return False
    marks = 0
    for pieces, piece in enumerate(_PIECES.finditer(raw), start=1):
        marks += raw[piece.start()] != 0x22
        if marks > most or pieces > 3 * most + 1:
            return True
    return False


def _depth(value: Any) -> int:
    """How deeply lists and objects nest, level by level rather than by recursion."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST + 1:
        level = [
            inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)
        ]
        depth += 1
    return depth - 1
