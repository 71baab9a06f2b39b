"""Refuses JSON bodies with too many values, too deep nesting or numbers that are not finite, before validation.

A few megabytes hold a million empty objects; to parse them, check each and list a million faults takes a gigabyte and holds every other
request up for seconds. So the values are counted where they cost nothing yet, in the bytes, and nestings in what was parsed.
"""

import math
import re

from fastapi import Request

from app.errors import Problem, invalid
from app.http.gate import UNSAFE
from app.http.problems import pointer
from terms.values import Json

DEEPEST = 64
"""Objects and lists within one another; serialisers give up at a few hundred."""
_PIECES = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[,\[{]', re.DOTALL)
"""Strings as wholes, for the marks in them are text; and the marks before values: a bracket or, for all but the first, a comma."""

_PERHAPS_ENDLESS = re.compile(rb"NaN|Infinity|[eE]\+?\d{3}|\d{200}|\x00")
"""What every body has that holds a number past every float; few others have it. The NUL is of UTF-16, which the parser reads too."""


async def check_json(request: Request, most: int) -> None:
    """Raises Problem 413 `too_many_values` past `most` values, 400 `nested_too_deeply`, 422 `not_finite`.

    What is not valid JSON is left to whoever reads it.
    """
    if request.method not in UNSAFE:
        return
    raw = await request.body()
    if more_than(raw, most):
        detail = f"The body holds more than {most:,} values in its lists and objects, the most that this server takes. Send less at once."
        raise Problem(413, "too_many_values", detail)
    if raw.count(b"[") + raw.count(b"{") <= DEEPEST and _PERHAPS_ENDLESS.search(raw) is None:
        return
    try:
        value = await request.json()
        depth = _depth(value)
    except RecursionError:
        depth = DEEPEST + 1
    except ValueError:
        return
    if depth > DEEPEST:
        detail = f"The body nests objects and lists more than {DEEPEST} levels deep; this server allows {DEEPEST}."
        raise Problem(400, "nested_too_deeply", detail)
    check_finite(value)


def check_finite(value: Json, at: str = "") -> None:
    """Raises Problem 422 `not_finite` for the first number within a JSON value that is no number to calculate with, by its pointer.

    Python's parser takes NaN and Infinity, which JSON does not have, and makes infinity of 1e400.
    """
    if isinstance(value, float) and not math.isfinite(value):
        detail = (
            f"{at or 'The body'} is {value}, not a finite number. JSON has no NaN and no Infinity, and a number must be within 1.8e308. "
            "Send a number, or leave the field out."
        )
        raise invalid(at, "not_finite", detail)
    if isinstance(value, dict | list):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            check_finite(one, at + pointer([name]))


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


def _depth(value: Json) -> int:
    """How deeply lists and objects nest, level by level rather than by recursion."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST + 1:
        level = [
            inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)
        ]
        depth += 1
    return depth - 1
