"""Each stored document has one reader, in terms.documents.reading: no other module of app and workers parses it. Files of lines have one writer,
in terms.documents.writing."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from terms.documents import reading

ROOT = Path(__file__).parents[2]
READERS = {name: get_args(hint)[1].__name__ for name, hint in get_type_hints(reading).items()}
"""The type that a reader of a whole document or of a line returns, by its name."""
DOCUMENTS = {*READERS.values(), "ResultsHeader", "ResultsBaseline", "ResultsRun"}
FETCHES = {"artifact", "blob"}
"""The methods that give a job the bytes of a stored file or dataset."""


def parsed(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "json.loads":
            yield node


def faults(source: str) -> list[str]:
    """The statements that parse a stored file where they fetch it, or that give a parsed value the type of a document."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) in DOCUMENTS and any(parsed(node)):
            found.append(ast.unparse(node))
        if isinstance(node, ast.Call | ast.ListComp | ast.GeneratorExp) and any(parsed(node)):
            called = {
                one.func.attr for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)
            }
            if called & FETCHES:
                found.append(ast.unparse(node))
    return found


def test_every_document_has_one_reader() -> None:
    assert len(set(READERS.values())) == len(READERS) == 8


@pytest.mark.parametrize("package", ["app", "workers"])
def test_no_module_parses_a_stored_document_itself(package: str) -> None:
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in sorted((ROOT / package).rglob("*.py"))
        if (wrong := faults(path.read_text(encoding="utf-8")))
    }
    assert found == {}, "read them by terms.documents.reading"


@pytest.mark.parametrize(
    "source",
    [
        'content = json.loads(context.artifact(job, "calibration.json"))',
        'lines = [json.loads(line) for line in context.artifact(job, "responses.jsonl").splitlines()]',
        "row: AnswerLine = json.loads(line)",
        "header: ResultsHeader = json.loads(line)",
        'others = {one["name"]: json.loads(context.blob(one["version"])) for one in asked}',
    ],
)
def test_a_second_reader_is_seen(source: str) -> None:
    assert faults(source)


def lines_written(source: str) -> list[str]:
    """The expressions that end JSON with a line feed, as bytes."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.BinOp)
        and ast.unparse(node.right) == ast.unparse(ast.Constant(b"\n"))
        and "json.dumps" in ast.unparse(node)
    ]


def test_files_of_lines_have_one_writer() -> None:
    files = {
        path: lines_written(path.read_text(encoding="utf-8"))
        for package in ("app", "terms", "workers")
        for path in (ROOT / package).rglob("*.py")
    }
    assert [str(path.relative_to(ROOT)) for path, written in files.items() if written] == ["terms/documents/writing.py"]
