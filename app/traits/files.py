"""Reads the files of a trait folder, in trait-interp's format or ours, as a request. Errors name the file, and the line of a bad line.

    positive.txt | positive.jsonl   negative.txt | negative.jsonl   definition.txt   steering.json
    paraphrases.json   unrelated.json   split.json   made_for.txt                    (ours, optional)

A .jsonl takes precedence over a .txt of the same class. Fields of trait-interp that have no meaning here are dropped with a note;
`app.traits.checks` decides whether the content is usable as a trait.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypeAliasType

from app.errors import Problem, invalid
from app.http.problems import pointer
from app.refusals import fault, json_fault
from app.traits.schemas import Aside, AsideRow, Prompt, PromptRow, Question, QuestionRow, Steering, TraitRequest
from terms.values import Json, JsonObject

KNOWN = (
    "positive.txt", "positive.jsonl", "negative.txt", "negative.jsonl", "definition.txt", "steering.json", "paraphrases.json",
    "unrelated.json", "split.json", "made_for.txt",
)  # fmt: skip
UNUSED = tuple(f"ood_{part}.{suffix}" for part in ("positive", "negative") for suffix in ("txt", "jsonl"))
"""Further files in some of trait-interp's folders, which are ignored."""
WHOLE = {"positive", "negative", "steering"}
"""Fields that distinguish an object with a whole trait from an object of another format."""
SHOWN = 20
"""Most errors or fields listed in one sentence."""
T = TypeVar("T")
Content = TypeAliasType("Content", "Json | BaseModel | Sequence[Content] | Mapping[str, Content]")
"""A JSON value that may contain parts which were checked already."""


class Split(BaseModel):
    """Assignment of clusters to splits. Clusters of the extraction are listed only for readers of the file."""

    model_config = ConfigDict(strict=True)

    seed: int | None = Field(None, ge=0, lt=2**31)
    selection: list[str] = Field(default_factory=list)
    test: list[str] = Field(default_factory=list)


_PROMPT: TypeAdapter[Prompt] = TypeAdapter(PromptRow)
_QUESTION: TypeAdapter[Question] = TypeAdapter(QuestionRow)
_ASIDE: TypeAdapter[Aside] = TypeAdapter(AsideRow)
_SPLIT, _REQUEST = TypeAdapter(Split), TypeAdapter(TraitRequest)


@dataclass
class Folder:
    """The content of a folder's files, and notes on dropped content."""

    request: TraitRequest
    notes: list[str] = field(default_factory=list)


def whole(files: Mapping[str, bytes]) -> JsonObject | None:
    """Returns the fields of the trait if the only file is JSON that holds all of them, as the body of POST /v1/traits does; else None."""
    file, data = next(iter(files.items()), ("", b""))
    if len(files) != 1 or file in KNOWN or not file.lower().endswith(".json"):
        return None
    try:
        content = json_of(data, file)
    except Problem:
        return None  # perhaps JSON lines
    return content if isinstance(content, dict) and content.keys() & WHOLE else None


def read(name: str, files: Mapping[str, bytes], *, seed: int = 0) -> Folder:
    """Returns the trait in these files, given by name without folders. Raises Problem 422."""
    notes = [f"{file} was not read: datasets here have no part of this name." for file in sorted(files) if file in UNUSED]
    for file in files:
        if file not in KNOWN + UNUSED:
            raise invalid(f"/{file}", "unknown_file", f"{file} is not a file of a trait. The files are {', '.join(KNOWN)}.")
    split = _split(files)
    request = {
        "name": name,
        "definition": text_of(files["definition.txt"], "definition.txt") if files.get("definition.txt", b"").strip() else None,
        "positive": _class(files, "positive", notes),
        "negative": _class(files, "negative", notes),
        "steering": _steering(files, notes),
        "paraphrases": _asides(files, "paraphrases", notes),
        "unrelated": _asides(files, "unrelated", notes),
        "made_for": text_of(files["made_for.txt"], "made_for.txt").strip() if "made_for.txt" in files else None,
        "seed": seed if split.seed is None else split.seed,
    }
    checked = _checked(_REQUEST, request, "", "")
    _apply_split(checked, split)
    return Folder(checked, notes)


def _class(files: Mapping[str, bytes], part: str, notes: list[str]) -> list[Prompt]:
    jsonl, txt = f"{part}.jsonl", f"{part}.txt"
    if jsonl in files:
        if txt in files:
            notes.append(f"{txt} was not read, because {jsonl} is present.")
        return _jsonl(files[jsonl], jsonl, part, notes)
    if txt in files:
        rows: list[Prompt] = []
        for number, line in enumerate(text_of(files[txt], txt).split("\n"), start=1):
            if line.strip():
                rows.append(_checked(_PROMPT, line.strip(), f"/{part}/{len(rows)}", f"{txt}, line {number}"))
        return rows
    raise invalid(f"/{part}", "missing_file", f"There is no {jsonl} and no {txt}: a trait is a contrast and needs both classes.")


def _jsonl(data: bytes, file: str, part: str, notes: list[str]) -> list[Prompt]:
    rows: list[Prompt] = []
    left_out: set[str] = set()
    for number, line in enumerate(text_of(data, file).split("\n"), start=1):
        if line.strip():
            where = f"{file}, line {number}"
            row = _known(parsed(line, where, f"/{file}"), Prompt, left_out)
            rows.append(_checked(_PROMPT, row, f"/{part}/{len(rows)}", where))
    _note_left_out(file, left_out, notes)
    return rows


def _steering(files: Mapping[str, bytes], notes: list[str]) -> Mapping[str, Content]:
    """Returns the content of steering.json: a list of questions or an object with them; each question is a string or an object."""
    file = "steering.json"
    if file not in files:
        detail = (
            "There is no steering.json. A trait needs questions on which its vectors are steered and judged: add a steering.json with "
            '["question", ...].'
        )
        raise invalid("/steering", "missing_file", detail)
    left_out: set[str] = set()
    content, rows = _questions_in(files, file)
    body = _known_fields(content, Steering, left_out)
    questions = [
        _checked(_QUESTION, _known(row, Question, left_out), f"/steering/questions/{i}", f"{file}, question {i + 1}")
        for i, row in enumerate(rows)
    ]
    _note_left_out(file, left_out, notes)
    return {**body, "questions": questions}


def _asides(files: Mapping[str, bytes], part: str, notes: list[str]) -> list[Aside]:
    file = f"{part}.json"
    if file not in files:
        return []
    left_out: set[str] = set()
    rows = [
        _checked(_ASIDE, _known(row, Aside, left_out), f"/{part}/{i}", f"{file}, question {i + 1}")
        for i, row in enumerate(_questions_in(files, file)[1])
    ]
    _note_left_out(file, left_out, notes)
    return rows


def _questions_in(files: Mapping[str, bytes], file: str) -> tuple[JsonObject, list[Json]]:
    """Returns the object with the questions, and the questions; a bare list is wrapped."""
    content = json_of(files[file], file)
    body: Json = {"questions": content} if isinstance(content, list) else content
    if not isinstance(body, dict) or not isinstance(rows := body.get("questions"), list):
        raise invalid(f"/{file}", "no_questions", f'{file} must be a list of questions, or an object with a list "questions".')
    return body, rows


def _split(files: Mapping[str, bytes]) -> Split:
    """Returns the content of `split.json`: a seed, and the clusters of selection and test; empty without the file."""
    if "split.json" not in files:
        return Split(seed=None)
    return _checked(_SPLIT, json_of(files["split.json"], "split.json"), "/split.json", "split.json")


def _apply_split(request: TraitRequest, split: Split) -> None:
    """Gives the questions of each listed cluster its split. Raises Problem 422 for a cluster in both lists or a question of another split."""
    both = set(split.selection) & set(split.test)
    if both:
        detail = f"split.json lists the cluster {min(both)!r} in selection and in test. Give one split."
        raise invalid("/split.json/test", "contradicting_split", detail)
    place = dict.fromkeys(split.selection, "selection") | dict.fromkeys(split.test, "test")
    for i, row in enumerate(request.steering.questions):
        listed = place.get(row.cluster or "")
        if listed is not None and row.split not in (None, listed):
            detail = f"steering.json puts question {i + 1} (cluster {row.cluster!r}) in {row.split}, split.json in {listed}. Give one split."
            raise invalid(f"/steering/questions/{i}/split", "contradicting_split", detail)
        row.split = row.split or listed  # type: ignore[assignment]


def text_of(data: bytes, file: str) -> str:
    """Returns the text of a UTF-8 file, without a byte order mark and with \\n as line ends. Raises Problem 422, also for a blank file."""
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        detail = f"{file}, line {line}: byte {error.start} (0x{data[error.start]:02X}) is not UTF-8. Save the file as UTF-8."
        raise invalid(f"/{file}", "invalid_utf8", detail) from error
    if not text.strip():
        raise invalid(f"/{file}", "empty_file", f"{file} is empty. Send it with its content, or leave it out.")
    return text


def json_of(data: bytes, file: str) -> Json:
    """Returns the JSON value in a file. Raises Problem 422."""
    return parsed(text_of(data, file), file, f"/{file}")


def parsed(text: str, where: str, at: str) -> Json:
    """Returns the JSON value in a text. Raises Problem 422 at the pointer `at`; its sentence begins with `where`."""
    try:
        content: Json = json.loads(text)
    except json.JSONDecodeError as error:
        place = f", line {error.lineno}" if "\n" in text else ""
        raise invalid(
            at, "malformed_json", f"{where}{place}: not valid JSON: at character {error.colno}, {json_fault(error.msg)}."
        ) from error
    except (ValueError, RecursionError) as error:  # for example a number with thousands of digits, or thousands of brackets
        raise invalid(
            at, "malformed_json", f"{where}: a number with too many digits, or lists and objects nested too deeply."
        ) from error
    return content


def _known(row: Json, model: type[BaseModel], left_out: set[str]) -> Json:
    """Returns an object without unknown fields, which are added to `left_out`; any other value unchanged."""
    return _known_fields(row, model, left_out) if isinstance(row, dict) else row


def _known_fields(row: JsonObject, model: type[BaseModel], left_out: set[str]) -> JsonObject:
    left_out |= row.keys() - model.model_fields.keys()
    return {name: value for name, value in row.items() if name in model.model_fields}


def _note_left_out(file: str, left_out: set[str], notes: list[str]) -> None:
    if left_out:
        shown = ", ".join(repr(name[:40]) for name in sorted(left_out)[:SHOWN])
        notes.append(f"{file}: the fields {shown} are not used here and were left out.")


def _checked(adapter: TypeAdapter[T], value: Content, at: str, where: str) -> T:
    """Returns the value as its type. Raises Problem 422 with pointers below `at`; the sentence begins with `where`."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        errors = []
        for failure in error.errors(include_url=False)[:SHOWN]:
            code, sentence = fault(failure)
            fields = "/".join(str(part) for part in failure["loc"])
            detail = ": ".join(part for part in (where, fields, sentence.rstrip(".")) if part) + "."
            errors.append({"pointer": at + pointer(failure["loc"]), "detail": detail, "code": code})
        raise Problem(422, "invalid_request", errors[0]["detail"], errors=errors) from error
