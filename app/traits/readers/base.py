"""What every reader shares: a parsed file, the rows taken from it, and the questions kept out of the extraction. Knows no format."""

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from app.errors import invalid
from app.traits import clusters
from app.traits.files import json_of, parsed, text_of
from terms.values import Json, JsonObject

Row = JsonObject

TABLES = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".json", ".jsonl", *TABLES)
MOST_HELD = 64
"""Clusters kept as questions; half of them are drawn for the test, and a verdict needs 20 there."""
SHARE = 3
"""At most one cluster in so many is kept as a question."""


@dataclass(frozen=True)
class Source:
    """One file: its bare name and what it holds, a JSON value or the rows of a table."""

    file: str
    content: Json

    @property
    def rows(self) -> list[Row]:
        """Its objects; nothing for content that is not a list of objects."""
        content = self.content
        return content if isinstance(content, list) and content and all(isinstance(row, dict) for row in content) else []


@dataclass
class Taken:
    """The rows that a reader made. `notes` say what was taken and what was left. `questions` None: the file holds none."""

    positive: list[Row] = field(default_factory=list)
    negative: list[Row] = field(default_factory=list)
    questions: list[Row] | None = None
    eval_prompt: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    """A format: `about` says in a line what its files hold, `recognises` tells whether a file is one, `read` takes all files of a request."""

    about: str
    recognises: Callable[[Source], bool]
    read: Callable[[Sequence[Source], int], Taken]


def opened(file: str, data: bytes) -> Source:
    """The file by its suffix; a .json file of one object a line is taken as .jsonl. Raises Problem 422 with its line."""
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
    """The rows of a table with a head."""
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, restkey="")
    rows = []
    try:
        for row in reader:
            if "" in row:
                detail = f"{file}, line {reader.line_num}: more cells than the head has columns ({len(reader.fieldnames or ())})."
                raise invalid(f"/{file}", "malformed_table", detail + " Put texts with separators in double quotes.")
            rows.append({name.strip(): value or "" for name, value in row.items()})
    except csv.Error as error:
        raise invalid(f"/{file}", "malformed_table", f"{file}, line {reader.line_num}: {error}.") from error
    return rows


def words(source: Source, number: int, row: Row, name: str) -> str:
    """A field that must be a text. `number` counts rows from 1. Raises Problem 422 naming file, row and field."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        said = "is missing" if value is None else "must be a text that is not blank"
        raise invalid(f"/{source.file}", "invalid_row", f"{source.file}, row {number}: the field {name!r} {said}.")
    return value


def leftover(source: Source, used: Sequence[str]) -> list[str]:
    """A note on the fields that were not used, if there are any."""
    names = sorted({name for row in source.rows for name in row} - set(used))
    return [f"{source.file}: the fields {', '.join(repr(name[:40]) for name in names[:20])} were left out."] if names else []


@dataclass(frozen=True)
class Held:
    """The cluster of every text, and which texts are kept as questions."""

    clusters: list[str]
    questions: set[int]


def hold_out(texts: Sequence[str], seed: int) -> Held:
    """Keeps up to a third of the texts' clusters, and 64 at most, as questions, drawn by seed: what is tested must not be extracted from."""
    named = clusters.fill(texts, [None] * len(texts), clusters.shared_wording(texts))
    ordered = sorted(set(named), key=lambda one: hashlib.sha256(f"{seed}/held/{one}".encode()).digest())
    kept = set(ordered[: min(MOST_HELD, len(ordered) // SHARE)])
    return Held(named, {i for i, cluster in enumerate(named) if cluster in kept})


def held_note(held: Held) -> str:
    """What was kept out, as a sentence."""
    kept = {held.clusters[i] for i in held.questions}
    return (
        f"The file holds no questions to steer on, so {len(held.questions):,} of its {len(held.clusters):,} prompts "
        f"({len(kept):,} clusters) were kept out of the extraction as questions. Send steering.json beside it to choose your own."
    )
