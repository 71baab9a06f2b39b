"""Texts on pages: what acts on a viewer is shown as an escape, and a form gives back the text that fills it."""

import html
import re
from pathlib import Path

import pytest

from app.pages.templating import environment
from tests.pages.test_trying import Make, attempt

TEXT = "\n\tQ: <b>\n\nA:\n"
BREAKS = ["\x0b", "\x0c", "\r", "\x1c", "\x85", "\u2028"]
"""Characters other than a line break at which Python splits lines."""


@pytest.mark.parametrize("separator", BREAKS)
def test_only_line_breaks_break_lines(separator: str, tmp_path: Path) -> None:
    shown = environment(tmp_path).from_string("{{ text }}")
    escaped = separator.encode("unicode_escape").decode()
    assert shown.render(text=f"a{separator}b") == f"a{escaped}b"
    assert shown.render(text=f"a{separator}b\r\nc\n") == f"a{escaped}b\nc\n"


def test_a_form_gives_back_the_text_that_fills_it(person: Make) -> None:
    """A text field's first line break is dropped by HTML (13.2.6.4.7, a start tag whose tag name is textarea)."""
    ada = person()
    tried = attempt(ada, model="demo", prompt=TEXT, system_prompt=TEXT, max_new_tokens="8").text
    job = ada.submit()
    assert ada.keyed.patch(f"/v1/jobs/{job}", json={"notes": TEXT}).status_code == 200
    for page, name in ((tried, "prompt"), (tried, "system_prompt"), (ada.get(f"/jobs/{job}/edit").text, "notes")):
        [content] = re.findall(rf'<textarea[^>]* name="{name}"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
        assert html.unescape(content) == TEXT
