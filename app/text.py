"""Checks which text may be stored, and which text may be a name. `binnacle.words.visible` decides how text is shown.

Postgres' JSON cannot hold NUL, UTF-8 cannot hold half a surrogate pair, and a text may hold line breaks and tabs but no other control
characters. A name is one line: no control characters, line breaks or characters that change the direction of text.
"""

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import BaseModel, StringConstraints, ValidationError

from app.errors import Problem, invalid
from binnacle.words.visible import UNSEEN
from terms.values import Json

CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
LINE = rf"^[^{UNSEEN}]*$"
Line = Annotated[str, StringConstraints(pattern=LINE)]
"""A name, or other text on one line that is shown next to other users' text."""
_UNSEEN = re.compile(rf"[{UNSEEN}]")
Model = TypeVar("Model", bound=BaseModel)


def not_a_line(text: str) -> str:
    """Returns which character keeps a text from being a `Line`, and what to do."""
    match = _UNSEEN.search(text)
    assert match is not None
    return (
        f"holds the character U+{ord(match[0]):04X} at position {match.start()}. A name is one line without "
        "control characters, line breaks, tabs and marks that change the direction of text. Remove the character."
    )


def stored(model: type[Model], values: Mapping[str, Json]) -> Model:
    """Returns a stored request as a model. Old requests may contain names that are not `Line`s: forbidden characters become U+FFFD."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [fault for fault in error.errors() if fault.get("ctx", {}).get("pattern") == LINE]
        if not faults:
            raise
        places = {fault["input"] for fault in faults}
        return model.model_validate(_repaired(values, places))


def _repaired(value: Json, lines: set[str]) -> Json:
    if isinstance(value, Mapping):
        return {name: _repaired(field, lines) for name, field in value.items()}
    if isinstance(value, list):
        return [_repaired(entry, lines) for entry in value]
    return _UNSEEN.sub("\ufffd", value) if isinstance(value, str) and value in lines else value


def check_not_blank(text: str, pointer: str) -> None:
    """Raises Problem 422 `blank_prompt` for a blank text, which no model can answer."""
    if not text.strip():
        raise invalid(pointer, "blank_prompt", f"{pointer} holds only white space. Write a text or leave the field out.")


def check_text(value: Json, pointer: str = "") -> None:
    """Raises Problem 422 `invalid_characters`, with a JSON pointer, for the first string in a JSON value with a forbidden character."""
    if isinstance(value, str):
        match = CONTROLS.search(value)
        if match is not None:
            detail = (
                f"{pointer or '/'} holds the character U+{ord(match[0]):04X} at position {match.start()}, which "
                "is not text. Remove the character; line breaks and tabs may stay."
            )
            errors = [{"pointer": pointer, "detail": detail, "code": "invalid_characters"}]
            raise Problem(422, "invalid_characters", detail, errors=errors)
    elif isinstance(value, dict):
        for name, field in value.items():
            check_text(field, f"{pointer}/{name}")
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            check_text(entry, f"{pointer}/{i}")
