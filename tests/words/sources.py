"""Strings that a person may read, taken from Python files, Jinja templates and the pages' own scripts without running them.

A string counts as prose when two words stand beside each other in it. SQL, regular expressions and docstrings are left out; the docstrings
that reach a person (routes, schemas, commands) are collected from the OpenAPI document and from the command line's help.
"""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

PROSE = re.compile(r"[A-Za-z]{2,}[,;:.)']? +[({]*[A-Za-z]{2,}|[}]'?[,:;]? [a-z]{2,}|[a-z]{2,}:? '?[{]")
NOT_PROSE = {
    "text",
    "compile",
    "CheckConstraint",
    "execute",
    "exec_driver_sql",
    "literal_column",
    "Index",
    "cast",
    "search",
    "sub",
    "TypeAliasType",
}
"""Calls that take SQL, a pattern or a type."""
SQL = re.compile(r"\b(SELECT|NULL|ON DELETE|NO ACTION|FROM jobs|CAST|j\.state|job_class =|state =)\b|<@|[a-z_]+ IN \('")
CODE = re.compile(
    r"^(np\.|import json|bold |from binnacle|with Client|local all|port {port}|Wheel-Version|blob |text/|"
    r"attachment;|private, |inline;|max-age|<time )"
)
NAMED = {"description", "help", "title", "summary"}
"""Keyword arguments that a person reads, even when they hold a single word."""
TAGS_IN_A_LINE = {"a", "b", "em", "strong", "i", "code", "span", "abbr", "label", "small", "sup", "sub", "time"}
SHOWN = {"title", "aria-label", "placeholder", "alt"}
SHOWN_BY_SCRIPT = re.compile(r'"([A-Z][^"\n]* [^"\n]*)"|textContent = "([^"\n]+)"')
"""Strings of a script that a person reads: those that begin as a sentence does, and each that becomes the text of an element."""
VENDORED = {"htmx.min.js", "swagger-ui-bundle.js"}
FOR_MODELS = {"workers/judges/prompts.py", "workers/lm/prompts.py", "workers/lm/tokenizing.py"}
"""Texts that a language model reads: part of the measurement, so that their bytes stay."""


class _Strings(ast.NodeVisitor):
    """Visits a module and keeps its prose, in the order of the file."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_Expr(self, node: ast.Expr) -> None:
        """Passes over docstrings."""
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Passes over types that are written as strings."""
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        """Keeps descriptions and help texts of any length; passes over SQL, patterns and types."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in NOT_PROSE:
            return
        for keyword in node.keywords:
            if keyword.arg in NAMED and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str):
                self.found.append(keyword.value.value)
                keyword.value = ast.Constant(None)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Keeps a plain string that is prose."""
        if isinstance(node.value, str):
            self._keep(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Keeps an f-string with its expressions in braces."""
        parts = (
            "{" + ast.unparse(part.value) + "}" if isinstance(part, ast.FormattedValue) else ast.literal_eval(part)
            for part in node.values
        )
        self._keep("".join(parts))

    def _keep(self, text: str) -> None:
        if PROSE.search(text) and not SQL.search(text) and not CODE.search(text):
            self.found.append(text)


class _Text(HTMLParser):
    """Keeps the text of an HTML document, one line for each block, and the attributes that a browser shows or reads out."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Starts a line at a block; keeps titles, labels and placeholders."""
        self.silent += tag in ("script", "style")
        if tag not in TAGS_IN_A_LINE:
            self.lines += [*(value for name, value in attrs if name in SHOWN and value), ""]

    def handle_endtag(self, tag: str) -> None:
        """Ends the line of a block."""
        self.silent -= tag in ("script", "style")
        if tag not in TAGS_IN_A_LINE:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        """Adds text to the present line."""
        if not self.silent:
            self.lines[-1] += data


def of_python(path: Path) -> list[str]:
    """The prose of one Python file."""
    visitor = _Strings()
    visitor.visit(ast.parse(path.read_text()))
    return visitor.found


def of_template(path: Path) -> list[str]:
    """The text of one Jinja template; an expression is shown in braces, without its quotes."""
    source = path.read_text()
    source = re.sub(r"{#.*?#}|{%.*?%}", "", source, flags=re.DOTALL)
    spoken = re.sub(r"{{-?\s*(.*?)\s*-?}}", lambda match: "{" + re.sub(r"[\"<>]", "", match[1]) + "}", source, flags=re.DOTALL)
    parser = _Text()
    parser.feed(spoken)
    return [line for line in parser.lines if re.search(r"[A-Za-z]{2,}", re.sub(r"{.*?}", "", line))]


def of_script(path: Path) -> list[str]:
    """The sentences of one script of the pages; none of a vendored one."""
    return [] if path.name in VENDORED else [one or other for one, other in SHOWN_BY_SCRIPT.findall(path.read_text())]


def of_folder(folder: Path, root: Path) -> Iterator[tuple[str, list[str]]]:
    """Every Python file, template and script below a folder that holds prose, with its path from the root."""
    for path in folder.rglob("*"):
        read = {".py": of_python, ".jinja": of_template, ".js": of_script}.get(path.suffix)
        name = path.relative_to(root).as_posix()
        if read and name not in FOR_MODELS and (found := read(path)):
            yield name, found
