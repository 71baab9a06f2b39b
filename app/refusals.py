"""Says in plain English what a validator found wrong with a value: one sentence for each pydantic error type.

Users never see text from the framework or regular expressions. A test fails for a pattern without a description here.
"""

import re
from collections.abc import Callable

from pydantic_core import ErrorDetails

from app.text import LINE, not_a_line
from terms.values import Json, JsonObject

CODES = {"extra_forbidden": "unknown_field", "missing": "missing_field"}
UNKNOWN = "This value is not valid here; /openapi.json describes the field."

_NAME = "letters, digits and . _ -, beginning with a letter or digit, 100 characters at most"
PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$": _NAME,
    r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$": "letters, digits and . _ @ -, beginning with a letter or digit, 100 characters at most",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[0-9a-f]{8,64})?$": "a name, or name@version with 8 to 64 hexadecimal digits of the version",
    r"^[A-Za-z0-9._-]{1,100}$": "1 to 100 letters, digits and . _ -",
    r"^\w[\w.-]*$": "letters, digits and . _ -, beginning with a letter, a digit or _",
    r"^[\w.:/ -]+$": "letters, digits, spaces and . _ : / -",
    r"^[\w.@:-]{1,120}$": "1 to 120 letters, digits and . _ @ : -",
    r"^[A-Za-z0-9_.:-]{1,253}(/[0-9]{1,3})?$": "a host, an address or a network, such as judge.lab, 10.0.0.7 or 10.0.0.0/8",
    r"^[A-Z][A-Z0-9_]{0,90}_(KEY|TOKEN)$": "capital letters, digits and _, ending in _KEY or _TOKEN",
    r"^[0-9a-f]{40}$": "the 40 hexadecimal digits of a commit, in lower case",
    r"^t?[0-9a-f]{12}$": "t and 12 hexadecimal digits in lower case, as labelling.csv lists them",
    r"^[0-9A-Za-z]{8}$": "8 letters and digits: the part of a key after bnk_",
    r"^[0-9A-Za-z]*$": "letters and digits",
    r"^[a-z_.]*$": "lower-case letters, _ and full stops",
    r"^[0-9]{1,9}$": "a whole number of at most 9 digits",
    r"^[0-9]{1,9}(,[0-9]{1,9})*$": "whole numbers with commas between them, such as 3,4,5",
    r"^ *[0-9]+ *(, *[0-9]+ *)*$": "whole numbers with commas between them, such as 3,4,5",
    r"^[^\x00]*$": "text without the character U+0000",
}
"""Description of valid values, by the regular expression that checks them."""
_ID = re.compile(r"\^\(?((?:[a-z]+\|?)+)\)?_\[[0-9a-z-]+\]\{26\}\$")
_RULE = re.compile(r"\^\(massive\|.*")

_TYPES = {
    "string_type": "text in double quotes",
    "string_unicode": "text without half a surrogate pair",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list, in square brackets",
    "tuple_type": "a list, in square brackets",
    "set_type": "a list, in square brackets",
    "dict_type": "a JSON object, in braces",
    "model_type": "a JSON object, in braces",
    "model_attributes_type": "a JSON object, in braces",
    "none_required": "null",
    "datetime_type": "a time such as 2026-01-31T12:00:00Z",
    "datetime_parsing": "a time such as 2026-01-31T12:00:00Z",
    "datetime_from_date_parsing": "a time such as 2026-01-31T12:00:00Z",
    "datetime_object_invalid": "a time such as 2026-01-31T12:00:00Z",
    "timezone_aware": "a time with its zone, such as 2026-01-31T12:00:00Z",
    "date_type": "a date such as 2026-01-31",
    "date_parsing": "a date such as 2026-01-31",
    "date_from_datetime_parsing": "a date such as 2026-01-31",
    "time_delta_type": "a number of seconds",
    "time_delta_parsing": "a number of seconds",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}


Said = Callable[[JsonObject, Json], str]
"""A function that returns a sentence from the error's context and the value that was sent."""


def fault(error: ErrorDetails) -> tuple[str, str]:
    """Returns code and sentence for one entry of `ValidationError.errors()`."""
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] == LINE:
        return "invalid_characters", f"This field {not_a_line(error['input'])}"
    return CODES.get(error["type"], error["type"]), sentence(error)


def sentence(error: ErrorDetails) -> str:
    """Returns what is wrong, with the limit and the value sent. Reads `type`, `ctx` and, where present, `input`."""
    kind, facts = error["type"], error.get("ctx") or {}
    if kind in _TYPES:
        return f"The value must be {_TYPES[kind]}."
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"The value must be {words} {_number(facts[bound])}{_sent(error.get('input'))}."
    return _OTHERS[kind](facts, error.get("input")) if kind in _OTHERS else UNKNOWN


def _number(value: Json) -> str:
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return f"{int(value):,}"
    return str(value)


def _sent(value: Json) -> str:
    return f"; it is {_number(value)}" if isinstance(value, int | float) and abs(value) < 1e15 else ""


def _size(value: Json, singular: str, plural: str) -> str:
    if not isinstance(value, str | list | tuple | dict | set):
        return ""
    return f"; it has {len(value):,} {singular if len(value) == 1 else plural}"


def _text(words: str, limit: str) -> Said:
    def said(facts: JsonObject, value: Json) -> str:
        if limit == "min_length" and facts[limit] == 1:
            return "The text must not be empty."
        return f"The text must have {words} {facts[limit]:,} characters{_size(value, 'character', 'characters')}."

    return said


def _list(words: str, limit: str) -> Said:
    def said(facts: JsonObject, value: Json) -> str:
        count = facts[limit]
        return f"The list must have {words} {count:,} {'entry' if count == 1 else 'entries'}{_size(value, 'entry', 'entries')}."

    return said


def _pattern(facts: JsonObject, _value: Json) -> str:
    pattern = str(facts["pattern"])
    if pattern in PATTERNS:
        return f"The value must be {PATTERNS[pattern]}."
    if match := _ID.fullmatch(pattern):
        return (
            f"The value must be an id: {' or '.join(f'{prefix}_' for prefix in match[1].split('|'))} and 26 letters and digits."
        )
    if _RULE.fullmatch(pattern):
        return (
            "The value must be one of the rules for massive dims (docs/science.md, 2.4), such as peeling, ratio:20 or peel:0.05."
        )
    return UNKNOWN


def _own(facts: JsonObject, _value: Json) -> str:
    """Returns the sentence of one of this service's own checks."""
    said = str(facts.get("error", "")) or UNKNOWN
    return said if said.endswith(".") else f"{said}."


_OTHERS: dict[str, Said] = {
    "extra_forbidden": lambda _facts, _value: "The request does not take this field; /openapi.json lists the fields it takes.",
    "missing": lambda _facts, _value: "This field is required.",
    "string_too_short": _text("at least", "min_length"),
    "string_too_long": _text("at most", "max_length"),
    "too_short": _list("at least", "min_length"),
    "too_long": _list("at most", "max_length"),
    "string_pattern_mismatch": _pattern,
    "literal_error": lambda facts, _value: f"The value must be {facts['expected']}.",
    "enum": lambda facts, _value: f"The value must be {facts['expected']}.",
    "value_error": _own,
    "assertion_error": _own,
    "both_names": _own,
}

_JSON = {
    "Expecting value": "a value is missing",
    "Expecting property name enclosed in double quotes": "a name in double quotes is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting ',' delimiter": "a comma is missing",
    "Unterminated string starting at": "the text that begins there has no closing quote",
    "Extra data": "the JSON value ends there, and more text follows",
    "Illegal trailing comma before end of object": "the comma there must be removed",
    "Illegal trailing comma before end of array": "the comma there must be removed",
}


def json_fault(message: str) -> str:
    """Returns what Python's JSON parser found, in plain words."""
    if message.startswith("Invalid control character"):
        return "a text holds a control character, which must be escaped"
    return _JSON.get(message, "an escape after a backslash is not valid" if "escape" in message else "it cannot be read")
