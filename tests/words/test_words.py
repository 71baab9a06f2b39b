"""strings.txt holds every string that a person reads; neither it nor a document holds a phrase of phrases.txt."""

import ast
from pathlib import Path

import pytest

from tests.words.collected import FILE, PACKAGES, ROOT, as_text, collected
from tests.words.phrases import Phrase, found_in

FOLDERS = {"": "*.md", "docs": "*.md", "binnacle": "*.md", "shipped": "*/*.md", "app": "*/README.md", "workers": "*/README.md"}
OLD_NAMES = "glossary.md"  # lists the old names of things
DOCUMENTS = sorted(one for folder, names in FOLDERS.items() for one in (ROOT / folder).glob(names) if one.name != OLD_NAMES)


def test_the_file_of_strings_is_what_the_program_says() -> None:
    assert FILE.read_text() == as_text(), "run `make words` and read what changed"


def test_every_kind_of_source_is_collected() -> None:
    found = collected()
    for name, part in {
        "app/jobs/reasons.py": "is next",
        "app/pages/templates/jobs.jinja": "You have no jobs yet",
        "workers/reports/report.html.jinja": "partial",
        "binnacle/cli/jobs.py": "waits because",
        "app/pages/static/page.js": "This browser blocks notifications",
        "tools/demo_real.py": "do not measure a method",
        "the shipped studies": "four models that ship",
        "the command line's help": "Show who did what",
        "the API's description (openapi.json)": "Range at a time",
        "refusals of values": "whole number",
    }.items():
        assert any(part in one for one in found[name]), name


def test_no_string_holds_a_phrase_of_the_list() -> None:
    wrong = [(name, phrase, line) for name, said in collected().items() for phrase, line in found_in("\n".join(said))]
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_document_holds_a_phrase_of_the_list(document: Path) -> None:
    assert list(found_in(document.read_text())) == []


@pytest.mark.parametrize(
    ("line", "text", "occurs"),
    [
        ("is no | there is no", "The body is no JSON", True),
        ("is no | there is no", "There is no vector X, and that is no list", True),
        ("is no | there is no", "There is no vector X", False),
        ("is no", "The body is not valid JSON", False),
        ("a look", "Take A Look", True),
        ("a look", "a looker", False),
        ("one's", "one's own", True),
        ("can ... be", "it can never be", True),
        ("is no", "The body is\nno JSON", True),
        ("is no", "What it is\n\nNo body", False),
        ("is no | there is no, is no longer", "There\nis no body, and it is no\nlonger read", False),
    ],
)
def test_a_phrase_is_found_as_whole_words(line: str, text: str, occurs: bool) -> None:
    assert bool(Phrase(line).places(text)) is occurs


def test_every_module_says_in_plain_english_what_it_is() -> None:
    wrong = []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        wrong += [(path.relative_to(ROOT).as_posix(), phrase) for phrase, _ in found_in(first)]
        wrong += [] if first else [(path.relative_to(ROOT).as_posix(), "no docstring")]
    assert wrong == []
