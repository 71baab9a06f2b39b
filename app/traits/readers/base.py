"""Shared by all readers: a parsed file, the rows taken from it, and the questions kept out of the extraction. Independent of formats."""

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from app.errors import invalid
from app.traits import clusters
from app.traits.files import json_of, parsed, text_of
from binnacle.words.counting import counted
from terms.values import Json, JsonObject

Row = JsonObject

TABLES = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".json", ".jsonl", *TABLES)
MOST_HELD = 64
"""Most clusters kept as questions; half of them are drawn for the test, and a verdict needs 20 there."""
SHARE = 3
"""At most one in this many clusters is kept as a question."""


@dataclass(frozen=True)
class Source:
    """A file: its name without folders, and its content as a JSON value or the rows of a table."""

    file: str
    content: Json

    @property
    def rows(self) -> list[Row]:
        """Returns the objects in the file; nothing if the content is not a list of objects."""
        content = self.content
        return content if isinstance(content, list) and content and all(isinstance(row, dict) for row in content) else []


@dataclass
class Taken:
    """The rows that a reader made. `notes` name the used and the dropped parts. `questions` is None if the file contains none."""

    positive: list[Row] = field(default_factory=list)
    negative: list[Row] = field(default_factory=list)
    questions: list[Row] | None = None
    eval_prompt: Json = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    """A format: `about` describes its files in a line, `recognises` tells whether a file has the format, `read` reads all files of a request.

    `compared` returns the part of a prompt by which prompts and questions are grouped into clusters.
    """

    about: str
    recognises: Callable[[Source], bool]
    read: Callable[[Sequence[Source], int], Taken]
    compared: Callable[[str], str] = str


def opened(file: str, data: bytes) -> Source:
    """Parses a file by its suffix; a .json file with one object per line is read as .jsonl. Raises Problem 422 with the line."""
    suffix = PurePosixPath(file).suffix.lower()
    if suffix in TABLES:
        return Source(file, _table(file, text_of(data, file), TABLES[suffix]))
    text = text_of(data, file)
    if suffix == ".jsonl" or _is_lines(text):
        lines = enumerate(text.split("\n"), start=1)
        return Source(file, [parsed(line, f"{file}, line {number}", f"/{file}") for number, line in lines if line.strip()])
    return Source(file, json_of(data, file))


def _is_lines(text: str) -> bool:
    lines = [line.strip() for line in text.strip().split("\n", 2)]
    return len(lines) > 1 and all(line.startswith("{") and line.endswith("}") for line in lines[:2])


def _table(file: str, text: str, delimiter: str) -> list[Row]:
    """Returns the rows of a table with a header. Raises Problem 422, also for a table without rows."""
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        head = [name.strip() for name in reader.fieldnames or ()]
        twice = next((name for name in head if name and head.count(name) > 1), None)
        if twice is not None:
            raise invalid(
                f"/{file}", "malformed_table", f"{file}: the header has the column {twice[:40]!r} twice. Rename one of them."
            )
        for row in reader:
            if None in row:  # the cells for which the head has no column
                detail = (
                    f"{file}, line {reader.line_num}: more cells than the header has columns ({len(reader.fieldnames or ())})."
                )
                raise invalid(f"/{file}", "malformed_table", detail + " Put texts with separators in double quotes.")
            rows.append({name.strip(): value or "" for name, value in row.items()})
    except csv.Error as error:
        raise invalid(f"/{file}", "malformed_table", f"{file}, line {reader.line_num}: {error}.") from error
    if not rows:
        raise invalid(f"/{file}", "empty_file", f"{file} has no rows below its header. Send it with its rows.")
    return rows


def words(source: Source, number: int, row: Row, name: str) -> str:
    """Returns a field that must be a text. `number` counts rows from 1. Raises Problem 422 naming file, row and field."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        said = "is missing" if value is None else "must be a text that is not blank"
        raise invalid(f"/{source.file}", "invalid_row", f"{source.file}, row {number}: the field {name!r} {said}.")
    return value


def leftover(source: Source, used: Sequence[str]) -> list[str]:
    """Returns a note on unused fields, if there are any."""
    names = sorted({name for row in source.rows for name in row} - set(used))
    return [f"{source.file}: the fields {', '.join(repr(name[:40]) for name in names[:20])} were left out."] if names else []


def longer_note(left_out: int) -> list[str]:
    """Returns a note on conversations that were left out for their length, if there are any."""
    return (
        [f"Left out: {counted(left_out, 'conversation')} of several turns, because a row can hold only one turn."]
        if left_out
        else []
    )


@dataclass(frozen=True)
class Held:
    """The cluster of every text, and the indices of texts kept as questions."""

    clusters: list[str]
    questions: set[int]


def hold_out(texts: Sequence[str], seed: int) -> Held:
    """Keeps up to a third of the texts' clusters, at most 64, as questions, drawn by seed: test questions must not be extracted from."""
    named = clusters.fill(texts, [None] * len(texts), clusters.shared_wording(texts))
    ordered = sorted(set(named), key=lambda cluster: hashlib.sha256(f"{seed}/held/{cluster}".encode()).digest())
    kept = set(ordered[: min(MOST_HELD, len(ordered) // SHARE)])
    return Held(named, {i for i, cluster in enumerate(named) if cluster in kept})


def held_note(held: Held) -> str:
    """Returns a sentence about the texts kept as questions."""
    kept = {held.clusters[i] for i in held.questions}
    return (
        f"The file holds no questions to steer on, so {len(held.questions):,} of its {len(held.clusters):,} prompts "
        f"({counted(len(kept), 'cluster')}) were kept out of the extraction as questions. Send steering.json beside it to choose your own."
    )
