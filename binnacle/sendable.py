"""Turns the values of a request into JSON that can be sent; errors name the field at fault. Does not modify the values."""

import json
import math
from collections.abc import Mapping
from typing import Any

from binnacle.errors import BinnacleError


def json_bytes(value: Any) -> bytes:
    """Returns the value as UTF-8 JSON. Ranges, tuples, and numpy's arrays and numbers become lists and plain numbers.

    Raises BinnacleError `bad_value` for NaN and infinity, for text that is not valid Unicode, and for other types, with the JSON pointer.
    """
    return json.dumps(_plain(value, ""), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def check_text(text: str, what: str) -> None:
    """Raises BinnacleError `bad_value` for text that is not valid Unicode, such as an argument in another encoding than UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        detail = f"{what} is not valid Unicode text: {text!r}. Write it in UTF-8."
        raise BinnacleError("bad_value", detail) from error


def check_printable(text: str) -> None:
    """Raises BinnacleError `bad_value` for a name or path that is not valid Unicode, `bad_name` for one with control characters."""
    check_text(text, "The name")
    if not text.isprintable():
        raise BinnacleError("bad_name", f"{text!r} holds control characters, which names cannot have. Check how it was pasted.")


def _plain(value: Any, pointer: str) -> Any:
    """Returns the value in JSON's types; `pointer` is its place in the request."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        check_text(value, pointer or "The request")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BinnacleError("bad_value", f"{pointer} is {value}; it must be a finite number.")
        return value
    if isinstance(value, Mapping):
        return {_key(key, pointer): _plain(field, f"{pointer}/{key}") for key, field in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(entry, f"{pointer}/{number}") for number, entry in enumerate(value)]
    if hasattr(value, "tolist") and type(plain := value.tolist()) is not type(value):  # numpy's, without importing numpy
        return _plain(plain, pointer)
    raise BinnacleError(
        "bad_value",
        f"{pointer} is of type {type(value).__name__}, which JSON does not have. Send text, numbers, lists or dictionaries.",
    )


def _key(key: Any, pointer: str) -> Any:
    """Returns a key of the dictionary at `pointer`: text, or a whole number, which JSON holds as text."""
    if isinstance(key, str):
        check_text(key, f"A key of {pointer or 'the request'}")
    elif not isinstance(key, int):
        detail = f"{pointer or 'The request'} has the key {key!r}, of type {type(key).__name__}. Write it as text."
        raise BinnacleError("bad_value", detail)
    return key
