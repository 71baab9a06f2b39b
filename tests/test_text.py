"""Control characters and marks of direction are written out where text is shown, and specs with names from before they were refused are read."""

import re

import pytest

from app.studies.schemas import StudyRequest
from app.text import LINE, stored
from binnacle.words.visible import visible

OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal or a browser acts on: controls, marks of direction, line separators, and lone surrogates."""


def test_every_character_that_is_obeyed_is_written_out_and_every_other_stays() -> None:
    """Each of the basic plane alone: what a name may not hold, and half a surrogate pair, which no encoding holds."""
    for code in range(0x10000):
        one = chr(code)
        assert (visible(one) == one) == (OBEYED.fullmatch(one) is None), hex(code)
        assert OBEYED.search(visible(one)) is None
        if not 0xD800 <= code < 0xE000:
            assert (re.search(LINE, one + "a") is None) == (OBEYED.fullmatch(one) is not None), hex(code)
    assert visible("a\n\x1b[31m\u202e") == "a\\n\\x1b[31m\\u202e"
    assert visible("Zoë \U0001f469\u200d\U0001f52c") == "Zoë \U0001f469\u200d\U0001f52c"


def test_a_study_from_before_names_were_lines_is_still_read() -> None:
    """Its names lose what they may not hold now, its prose keeps its line breaks, and a spec that is not of a study is refused."""
    number = {"model": "m\u009b", "trait": "t", "method": "probe", "value": 1.0, "definition": "two\nlines", "source": "a\nb"}
    spec = {
        "models": ["m\u009b"],
        "traits": ["t"],
        "name": "[b]\x1b\u202e",
        "notes": "two\nlines",
        "published": [number],
        "judge": "reference",
    }
    found = stored(StudyRequest, spec)
    assert (found.name, found.models, found.notes) == ("[b]\ufffd\ufffd", ["m\ufffd"], "two\nlines")
    assert (found.published[0].source, found.published[0].definition) == ("a\ufffdb", "two\nlines")
    with pytest.raises(ValueError, match="models"):
        stored(StudyRequest, {**spec, "models": []})
