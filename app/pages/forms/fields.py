"""Converts the texts of a form's fields into values of a request.

A text that cannot be converted stays a text; the request's own validation reports the error at its field.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.errors import Problem, invalid
from terms.values import Json, JsonObject

Control = Literal["line", "names", "number", "numbers", "layers", "text", "texts", "choice", "choices", "json"]
Values = Mapping[str, Sequence[str]]
"""The texts of each field, as sent by a form or to fill a form."""
MOST_LAYERS = 1_000
"""The most that the end of a range of layers may exceed its beginning; a longer range is cut."""
_RANGE = re.compile(r"(\d{1,4})-(\d{1,4})")
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
"""A number with commas between groups of three digits; any other comma could be a decimal one."""


@dataclass(frozen=True)
class Field:
    """A field of a form. `name` is the request's field; `asks` names the list of choices; `rare` fields are folded; `needed` fields must be
    filled before the cost is estimated.
    """

    name: str
    label: str
    control: Control
    help: str = ""
    asks: str = ""
    rare: bool = False
    needed: bool = False

    @property
    def listed(self) -> bool:
        """Returns whether the field offers a list of choices."""
        return self.control in ("choice", "choices")


def request_of(fields: Sequence[Field], values: Values) -> JsonObject:
    """Returns the request of a filled form without its empty fields. Raises Problem 422 for a JSON field that is not an object.

    Raises Problem 422 also for a value that is in a field of its own and in the JSON field.
    """
    body: JsonObject = {}
    further: JsonObject = {}
    for field in fields:
        given = [text.replace("\r\n", "\n") for text in values.get(field.name, ())]
        if not any(text.strip() for text in given):
            continue
        value = READ[field.control](given)
        if field.control == "json":
            further = _further(field, given[0])
        else:
            body[field.name] = value
    for name in further:
        if name in body:
            raise invalid(
                f"/{name}", "given_twice", f"{name} has a field of its own in this form and is in the JSON too. Keep one of them."
            )
    return further | body


def named_in_json(fields: Sequence[Field], values: Values) -> frozenset[str]:
    """Returns the names of the values in the JSON field; none if its text is not a JSON object."""
    names: set[str] = set()
    for field in fields:
        if field.control == "json" and values.get(field.name):
            try:
                names |= _further(field, values[field.name][0]).keys()
            except Problem:
                continue  # the page shows such a text with its own error
    return frozenset(names)


def values_of(fields: Sequence[Field], request: JsonObject) -> dict[str, list[str]]:
    """Returns the texts that fill a form with a request. Values without a field of their own, and those that their field would send back
    changed, go into the JSON field.
    """
    rest = dict(request)
    values: dict[str, list[str]] = {}
    for field in fields:
        if field.control == "json" or field.name not in rest:
            continue
        written = WRITTEN.get(field.control, _plain)(rest[field.name])
        if written is not None and request_of([field], {field.name: _sent(field, written)}) == {field.name: rest[field.name]}:
            values[field.name] = written
            del rest[field.name]
    further = next((field for field in fields if field.control == "json"), None)
    if further is not None and rest:
        values[further.name] = [json.dumps(rest, indent=1, ensure_ascii=False)]
    return values


def _sent(field: Field, texts: Sequence[str]) -> list[str]:
    """Returns the texts as a browser sends them back: without line breaks from an `<input>`, and with its own from a `<textarea>`."""
    return [re.sub(r"\r\n?", "\n", text) if field.control in ("text", "texts") else re.sub(r"[\r\n]", "", text) for text in texts]


def _further(field: Field, text: str) -> JsonObject:
    """Returns the object in the JSON field. Raises Problem 422."""
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise invalid(f"/{field.name}", "malformed_json", f"This is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise invalid(f"/{field.name}", "malformed_json", "Lists and objects are nested too deeply in this JSON.") from error
    if not isinstance(parsed, dict):
        raise invalid(f"/{field.name}", "malformed_json", 'Write a JSON object, such as {"seed": 1}.')
    return parsed


def _number(text: str) -> Json:
    text = text.strip()
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _pieces(texts: Sequence[str]) -> list[str]:
    return [piece for text in texts for piece in re.split(r"[,\s]+", text.strip()) if piece]


def _layers(texts: Sequence[str]) -> Json:
    """Returns layers such as `2, 5-8` as numbers. A single word, such as `middle`, stays a word."""
    layers: list[Json] = []
    pieces = _pieces(texts)
    for piece in pieces:
        match = _RANGE.fullmatch(piece)
        if match and int(match[1]) <= int(match[2]):
            layers += range(int(match[1]), min(int(match[2]), int(match[1]) + MOST_LAYERS) + 1)
        else:
            layers.append(_number(piece))
    return pieces[0] if len(pieces) == 1 and pieces[0].isalpha() else layers


def texts_of(text: str) -> list[str]:
    """Splits a text at empty lines; without empty lines, each line is one text."""
    parts = re.split(r"\n\s*\n", text.strip("\n")) if re.search(r"\n\s*\n", text.strip()) else text.split("\n")
    return [part.strip("\n") for part in parts if part.strip()]


READ: dict[Control, Callable[[list[str]], Json]] = {
    "line": lambda texts: texts[0].strip(),
    "choice": lambda texts: texts[0],
    "choices": list,
    "names": lambda texts: [name.strip() for name in texts[0].split(",") if name.strip()],
    "number": lambda texts: _number(texts[0]),
    "numbers": lambda texts: [_number(piece) for piece in _pieces(texts)],
    "layers": _layers,
    "text": lambda texts: texts[0],
    "texts": lambda texts: texts_of(texts[0]),
    "json": lambda texts: texts[0],
}
"""Converts the texts of a field into its value in the request, by control."""


def _plain(value: Json) -> list[str]:
    return [str(value)]


def _joined(value: Json) -> list[str]:
    return [", ".join(map(str, value))] if isinstance(value, list) else _plain(value)


def _chosen(value: Json) -> list[str] | None:
    """Returns choices by name; None if a method has its own parameters."""
    return list(value) if isinstance(value, list) and all(isinstance(choice, str) for choice in value) else None


def _paragraphs(value: Json) -> list[str] | None:
    """Returns one text per line if no text contains a line break; None if the value is not a list of texts."""
    if not (isinstance(value, list) and all(isinstance(text, str) for text in value)):
        return None
    return [("\n\n" if any("\n" in text for text in value) else "\n").join(value)]


WRITTEN: dict[Control, Callable[[Json], list[str] | None]] = {
    "names": _joined,
    "numbers": _joined,
    "layers": _joined,
    "choices": _chosen,
    "texts": _paragraphs,
}
"""Converts a value of a request into the texts of its field, by control (others: `_plain`); None if the field cannot hold the value."""
