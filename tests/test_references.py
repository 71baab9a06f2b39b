"""Every reference to a document, in code, tests and documents, leads to a file and to a section that are there.

Read as references: a file name ending in .md; after it, numbers of sections (`docs/science.md, 2.3 and 2.4`, `science.md 2.2`, `section 2.4 of
docs/science.md`) or a heading (`docs/operating.md: Database connections`); links of Markdown; in docs/science.md its own numbers in brackets.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SPECIFICATION = "docs/science.md"
PLACES = ("app", "binnacle", "workers", "terms", "shipped", "migrations", "tests", "docs", ".ci")
SUFFIXES = {".py", ".md", ".toml", ".yml", ".jinja", ".html", ".js", ".css", ".json", ".conf", ".txt", ""}
MADE = {"report.md", "card.md", "notes.md", "readme.md", "severity.md"}
"""Files of these names are written by Binnacle or its tests, or come with a dataset or model of others."""
INVENTED = {"tests/images/test_images.py", "tests/test_references.py"}
"""These speak of files that are not there on purpose."""

NUMBERS = r"\d(?:\.\d)?(?:(?:, | and |; )\d\.\d)*"
NAME = re.compile(rf"(?:sections? ({NUMBERS}) of `?)?((?:\.\./)*(?:[\w-]+/)*[\w-]+\.md)\b(?!\.)")
AFTER = re.compile(rf"(?:,| \(|:)? ?(?:sections? )?({NUMBERS})(?![\d.]*[%\w])|: ([A-Z][^.;)\n]*)")
UNNAMED = re.compile(r"\b(?:science|design|specification)(?:: \w|,? (?:section )?\d)")
"""A document without its file name, as in `(science: ...)`."""
LINK = re.compile(r"\]\(([^)\s:]+\.md)?(#[\w-]+)?\)")
MODULE = re.compile(r"python3? -m ((?:app|workers|tests|tools|terms|shipped)(?:\.\w+)*)")
RULE = re.compile(r"`make ([a-z-]+)")
PATH = re.compile(r"`((?:app|binnacle|workers|terms|shipped|migrations|tests|tools|docs|examples|docker|\.ci)/[\w./-]*)`")
BRACKETS = re.compile(r"\((\d\.\d)\)")
HEADING = re.compile(r"^#+ (?:(\d(?:\.\d)?)\.? )?(.+)$", re.MULTILINE)


def texts() -> Iterator[tuple[str, str]]:
    """(path, text) of every file that people wrote."""
    files = [path for place in PLACES for path in (ROOT / place).rglob("*")] + list(ROOT.iterdir())
    for path in sorted(files):
        name = path.relative_to(ROOT).as_posix()
        if (
            path.is_file()
            and path.suffix in SUFFIXES
            and not re.search(r"(^|/)(__pycache__|static|vendor|models)/|openapi\.json", name)
        ):
            yield name, path.read_text()


@cache
def resolved(name: str, source: str) -> Path | None:
    """The document of this name: beside the file that names it, from the root, or the only one in the repository called so."""
    for path in ((ROOT / source).parent / name, ROOT / name):
        if path.is_file():
            return path
    same = [path for place in PLACES for path in (ROOT / place).rglob(name)] if "/" not in name else []
    return same[0] if len(same) == 1 else None


@cache
def headings(document: Path) -> tuple[set[str], set[str], set[str]]:
    """Numbers, titles, and anchors as links name them."""
    found = HEADING.findall(document.read_text())
    anchors = {re.sub(r"[^\w -]", "", f"{number} {title}".strip().lower()).replace(" ", "-") for number, title in found}
    return {number for number, _ in found if number}, {title.split(" (`")[0] for _, title in found}, anchors


def broken(source: str, text: str) -> Iterator[str]:
    """The references in a text that lead nowhere."""
    for found in NAME.finditer(text):
        name = found[2]
        if name.rsplit("/", 1)[-1] in MADE and resolved(name, source) is None:
            continue
        document = resolved(name, source)
        if document is None:
            yield f"{source}: there is no {name}"
            continue
        numbers, titles, _ = headings(document)
        after = AFTER.match(text, found.end())
        asked = re.findall(r"\d(?:\.\d)?", f"{found[1] or ''} {(after[1] if after else '') or ''}")
        if numbers:  # a document with numbered sections
            yield from (f"{source}: {name} has no section {number}" for number in asked if number not in numbers)
            if not asked and source.endswith(".py"):
                yield f"{source}: {name} without a section"
        elif after and after[2] and not any(after[2].startswith(title) for title in titles):
            yield f"{source}: {name} has no heading {after[2]!r}"
    for path, anchor in LINK.findall(text) if source.endswith(".md") else ():
        document = ROOT / source if not path else (ROOT / source).parent / path
        if not document.is_file() or (anchor and anchor.removeprefix("#") not in headings(document)[2]):
            yield f"{source}: the link {path}{anchor} leads nowhere"
    if source.endswith(".py"):
        yield from (f"{source}: {found!r} names no document" for found in UNNAMED.findall(text))
    if source == SPECIFICATION:
        own = headings(ROOT / source)[0]
        yield from (f"{source}: no section {number}" for number in BRACKETS.findall(text) if number not in own)


def test_every_module_rule_and_path_that_a_document_names_is_there() -> None:
    """What a reader would type or open: `python -m`, `make`, and paths of this repository."""
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong, seen = [], 0
    for source, text in texts():
        if not source.endswith(".md"):
            continue
        beside = (ROOT / source).parent
        modules = [ROOT / name.replace(".", "/") for name in MODULE.findall(text)]
        gone = [path for path in modules if not (path.with_suffix(".py").is_file() or (path / "__main__.py").is_file())]
        gone += [path for name in PATH.findall(text) if not any((path := top / name).exists() for top in (ROOT, beside))]
        wrong += [f"{source}: {path.relative_to(ROOT)}" for path in gone]
        wrong += [f"{source}: make {rule}" for rule in RULE.findall(text) if rule not in rules]
        seen += len(modules)
    assert wrong == []
    assert seen > 5


def test_every_reference_leads_to_a_document_and_a_section() -> None:
    found = dict(texts())
    assert len(found) > 500
    assert [fault for source, text in found.items() if source not in INVENTED for fault in broken(source, text)] == []
    named = sum(SPECIFICATION.rsplit("/", 1)[-1] in text for source, text in found.items() if source.endswith(".py"))
    assert named > 40


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("see science.md 2.9", "has no section 2.9"),
        ("(docs/science.md, 2.3 and 9.1)", "has no section 9.1"),
        ("by section 7.7 of docs/science.md", "has no section 7.7"),
        ("as docs/science.md has it", "without a section"),
        ("(docs/operating.md: Database collections)", "has no heading"),
        ("(design.md, Reproducible)", "there is no design.md"),
        ("(science: Dose)", "names no document"),
        ("(design: Lease)", "names no document"),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(text: str, fault: str) -> None:
    assert any(fault in one for one in broken("app/main.py", text))
