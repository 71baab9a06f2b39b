"""Texts on pages: control characters are shown as escapes, and a form sends back exactly the text that fills it."""

import html
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest

from app.devices.models import Worker
from app.pages.templating import environment
from tests.api.conftest import Running
from tests.pages.test_trying import Make, attempt

TEXT = "\n\tQ: <b>\u200f\n\nA:\u2028\x85\n"
BREAKS = ["\x0b", "\x0c", "\r", "\x1c", "\x85", "\u2028"]
"""Characters other than a line break at which Python splits lines."""


@pytest.mark.parametrize("separator", BREAKS)
def test_only_line_breaks_break_lines(separator: str, tmp_path: Path) -> None:
    shown = environment(tmp_path).from_string("{{ text }}")
    escaped = separator.encode("unicode_escape").decode()
    assert shown.render(text=f"a{separator}b") == f"a{escaped}b"
    assert shown.render(text=f"a{separator}b\r\nc\n") == f"a{escaped}b\nc\n"


def test_a_form_gives_back_the_text_that_fills_it(person: Make) -> None:
    """A text field's first line break is dropped by HTML (13.2.6.4.7, the start tag of a textarea)."""
    ada = person()
    tried = attempt(ada, model="demo", prompt=TEXT, system_prompt=TEXT, max_new_tokens="8").text
    job = ada.submit()
    assert ada.keyed.patch(f"/v1/jobs/{job}", json={"notes": TEXT}).status_code == 200
    for page, name in ((tried, "prompt"), (tried, "system_prompt"), (ada.get(f"/jobs/{job}/edit").text, "notes")):
        [content] = re.findall(rf'<textarea[^>]* name="{name}"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
        assert html.unescape(content) == TEXT


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "q"),
        ("/", "tag"),
        ("/vectors", "method"),
        ("/new/calibrate", "rule"),
        ("/new/steer", "trait"),
        ("/new/extract", "methods"),
    ],
)
def test_a_control_holds_the_text_that_fills_it(person: Make, path: str, name: str) -> None:
    text = "\u05e9\u200f <\u2067a\u2069>"
    page = person().get(f"{path}?{urlencode({name: text})}").text
    assert text in [html.unescape(one) for one in re.findall(rf'name="{name}"[^>]* value="([^"]*)"', page)] + [
        html.unescape(one) for one in re.findall(r'<option value="([^"]*)" selected', page)
    ]


def test_refused_forms_hold_the_texts_that_were_sent(api: Running, person: Make) -> None:
    root, text = person("admin"), "relative/\u200f/x/y"
    with api.sessions.begin() as session:
        session.merge(Worker(id="held", job_class="model", device="cuda:0", host="gpu", parent_pid=1, version="1"))
    for path, fields in (
        ("/models", {"name": "x", "source": text}),
        ("/traits/new", {"name": text}),
        ("/fleet/held/pause", {"reason": text, "minutes": "soon"}),
    ):
        answer = root.send(path, **fields)
        assert answer.status_code == 422
        assert f'value="{text}"' in answer.text, path
