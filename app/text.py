"""Text that can be stored and shown. Postgres' JSON cannot hold NUL, UTF-8 cannot hold half a surrogate pair, nobody means other controls."""

import re
from typing import Any

from app.errors import Problem, invalid

CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def check_not_blank(text: str, pointer: str) -> None:
    """Raises Problem 422 `blank_prompt` for a text that nobody could answer."""
    if not text.strip():
        raise invalid(pointer, "blank_prompt", f"{pointer} holds nothing but white space. Write a text or leave it out.")


def check_text(value: Any, pointer: str = "") -> None:
    """Raises Problem 422 `invalid_characters` for the first string within a JSON value that holds such a character, by its pointer."""
    if isinstance(value, str):
        found = CONTROLS.search(value)
        if found is not None:
            detail = (
                f"{pointer or '/'} holds the character U+{ord(found[0]):04X} at position {found.start()}, which is no text. "
                "Remove it; line breaks and tabs may stay."
            )
            errors = [{"pointer": pointer, "detail": detail, "code": "invalid_characters"}]
            raise Problem(422, "invalid_characters", detail, errors=errors)
    elif isinstance(value, dict):
        for name, one in value.items():
            check_text(one, f"{pointer}/{name}")
    elif isinstance(value, list):
        for i, one in enumerate(value):
            check_text(one, f"{pointer}/{i}")
