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


ELSEWHERE = {"app/traits/readers/__init__.py"}
"""Lines of a sent file in another form, which are read again at once and not stored. Their text is escaped, so that a lone surrogate in it is
refused by that reader with its line, instead of failing here."""


def lines_written(source: str) -> list[str]:
    """The expressions that put a line feed after JSON on one line, or between several. Indented JSON is a whole document."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if _fed(node) and _on_one_line(node)]


def _fed(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(right=ast.Constant(value="\n" | b"\n")):
            return True
        case ast.JoinedStr(values=parts):
            return any(isinstance(part, ast.Constant) and "\n" in str(part.value) for part in parts)
        case ast.Call(func=ast.Attribute(attr="join", value=ast.Constant(value="\n" | b"\n"))):
            return True
    return False


def _on_one_line(node: ast.AST) -> bool:
    inside = list(ast.walk(node))
    indented = {
        id(call.func)
        for call in inside
        if isinstance(call, ast.Call) and any(keyword.arg == "indent" for keyword in call.keywords)
    }
    return any(
        ast.unparse(part) == "json.dumps" and id(part) not in indented for part in inside if isinstance(part, ast.Attribute)
    )


@pytest.mark.parametrize(
    "source",
    [
        'b"".join(json.dumps(row).encode() + b"\\n" for row in rows)',
        '(json.dumps(row) + "\\n").encode()',
        'f"{json.dumps(row)}\\n".encode()',
        '"\\n".join(json.dumps(row) for row in rows)',
        'b"\\n".join([json.dumps(row).encode() for row in rows])',
        '"\\n".join(map(json.dumps, rows))',
    ],
)
def test_a_second_writer_is_seen(source: str) -> None:
    assert lines_written(source)


def test_a_whole_document_is_not_a_file_of_lines() -> None:
    assert not lines_written('(json.dumps(content, indent=1) + "\\n").encode()')


def test_files_of_lines_have_one_writer() -> None:
    writers = {
        str(path.relative_to(ROOT))
        for package in ("app", "terms", "workers")
        for path in (ROOT / package).rglob("*.py")
        if lines_written(path.read_text(encoding="utf-8"))
    }
    assert writers == {"terms/documents/writing.py", *ELSEWHERE}
