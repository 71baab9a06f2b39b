"""Refuses JSON bodies with too many values, too deep nesting or numbers that are not finite, before validation.

A few megabytes can hold a million empty objects. Parsing and checking them and listing a million errors takes a gigabyte and blocks all other
requests for seconds. So values are counted cheaply, in the bytes; nesting is measured after parsing.
"""

import math
import re

from fastapi import Request

from app.errors import Problem, invalid
from app.http.gate import UNSAFE
from app.http.problems import pointer
from terms.values import Json

DEEPEST = 64
"""Most levels of nested objects and lists; serializers fail at a few hundred."""
_PIECES = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[,\[{]', re.DOTALL)
"""Matches whole strings, because marks inside strings are text, and the marks before values: an opening bracket, or a comma before all but
the first.
"""

_PERHAPS_ENDLESS = re.compile(rb"NaN|Infinity|[eE]\+?\d{3}|\d{200}|\x00")
"""Matches every body with a number too large for a float, and few other bodies. NUL occurs in UTF-16, which the parser also accepts."""


async def check_json(request: Request, most: int) -> None:
    """Checks a JSON body. Raises Problem 413 `too_many_values` past `most` values, 400 `nested_too_deeply`, 422 `not_finite`.

    Invalid JSON passes; the code that parses the body reports it.
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
    """Raises Problem 422 `not_finite` for the first number in a JSON value that is NaN or infinite, with its JSON pointer.

    Python's parser accepts NaN and Infinity, which are not valid JSON, and turns 1e400 into infinity.
    """
    if isinstance(value, float) and not math.isfinite(value):
        detail = (
            f"{at or 'The body'} is {value}, not a finite number. JSON has no NaN and no Infinity, and a number must be within 1.8e308. "
            "Send a number, or leave the field out."
        )
        raise invalid(at, "not_finite", detail)
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            check_finite(inner, at + pointer([name]))


def more_than(raw: bytes, most: int) -> bool:
    """Returns whether these bytes of JSON hold more than `most` values, approximately; valid JSON has at most two strings per value."""
    if sum(raw.count(mark) for mark in (b",", b"[", b"{", b'"')) <= most:
        return False
    marks = 0
    for pieces, piece in enumerate(_PIECES.finditer(raw), start=1):
        marks += raw[piece.start()] != 0x22
        if marks > most or pieces > 3 * most + 1:
            return True
    return False


def _depth(value: Json) -> int:
    """Returns the depth of nested lists and objects, counted level by level and without recursion."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST + 1:
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
    return depth - 1
