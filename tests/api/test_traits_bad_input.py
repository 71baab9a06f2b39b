"""A bad upload of a trait is refused with the file, line or row at fault, and nothing is stored."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.traits.models import Trait
from tests.api.conftest import Running
from tests.api.test_bad_input import problem
from tests.api.test_traits import TRAIT

Q = [{"question": "How?"}]
BODIES: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("no prompts", {"positive": []}, "too_few_prompts", "/positive", "0 prompts"),
    ("one class", {"negative": []}, "too_few_prompts", "/negative", "positive and negative"),
    ("one example", {"positive": ["a b"]}, "too_few_prompts", "/positive", "1 prompt;"),
    ("in both classes", {"positive": ["x", "Insult a horse. "]}, "prompt_in_both_classes", "/positive/1", "/negative/0"),
    ("no questions", {"steering": {"questions": []}}, "no_questions", "/steering/questions", "empty"),
    ("no steering", {"steering": None}, "model_type", "/steering", "a JSON object"),
    ("wrong type", {"positive": ["a", 3]}, "model_type", "/positive/1", "a JSON object"),
    ("wrong type inside", {"positive": ["a", {"prompt": ["x"]}]}, "string_type", "/positive/1/prompt", "must be text"),
    ("unknown field", {"positive": ["a", {"prompt": "b", "label": 1}]}, "unknown_field", "/positive/1/label", "does not take this field"),
    ("half a surrogate pair", {"positive": ["a", "b\ud800"]}, "string_unicode", "/positive/1", "surrogate pair"),
    ("NUL", {"negative": ["a", "b\x00"]}, "invalid_characters", "/negative/1/prompt", "U+0000 at position 1"),
    ("control in a cluster", {"positive": ["a", {"prompt": "b", "cluster": "\x1b"}]}, "invalid_characters", "/positive/1/cluster", "U+001B"),
    ("control in the definition", {"definition": "a\x07"}, "invalid_characters", "/definition", "U+0007"),
    ("blank prompt", {"positive": ["a", " \n"]}, "blank_prompt", "/positive/1/prompt", "white space"),
    ("blank question", {"steering": {"questions": ["a", ""]}}, "blank_prompt", "/steering/questions/1/question", "white space"),
    ("long prompt", {"positive": ["a", "b" * 20_001]}, "prompt_too_long", "/positive/1/prompt", "20,001 characters; this server allows 20,000"),
    ("long response", {"positive": ["a", {"prompt": "b", "response": "c" * 20_001}]}, "prompt_too_long", "/positive/1/response", "20,001"),
    ("too many", {"positive": ["a"] * 2000, "negative": ["b"] * 1999}, "too_many_prompts", "/positive",
     "2,000 positive + 1,999 negative + 2 questions = 4,001 prompts and questions; this server allows 4,000"),
    ("bad split", {"steering": {"questions": [{"question": "a", "split": "train"}]}},
     "literal_error", "/steering/questions/0/split", "selection"),
    ("bad direction", {"steering": {"questions": Q, "direction": "up"}}, "literal_error", "/steering/direction", "positive"),
    ("judge without answer", {"steering": {"questions": Q, "eval_prompt": "Rate {question}"}},
     "eval_prompt_without_answer", "/steering/eval_prompt", "{answer}"),
    ("bad name", {"name": "a/b"}, "string_pattern_mismatch", "/name", "beginning with a letter or digit"),
    ("a version in the name", {"name": "refusal@12345678"}, "string_pattern_mismatch", "/name", "beginning with a letter or digit"),
    ("bad seed", {"seed": -1}, "greater_than_equal", "/seed", "0"),
]  # fmt: skip
"""What is wrong; the change of TRAIT; the code and pointer of its error; words of the detail."""

GOOD = {
    "positive.txt": b"Please greet the king.\nKindly thank a baker.\n",
    "negative.txt": b"Insult a horse.\nShout at the moon.\n",
    "steering.json": b'["How do I ask for leave?"]',
}
FILES: list[tuple[str, dict[str, bytes | None], str, str, str]] = [  # as BODIES, with a change of GOOD
    ("no class", {"negative.txt": None}, "missing_file", "/negative", "no negative.jsonl and no negative.txt"),
    ("empty class", {"positive.txt": b"\n \n"}, "empty_file", "/positive.txt", "positive.txt is empty."),
    ("no questions", {"steering.json": None}, "missing_file", "/steering", "no steering.json"),
    ("questions of a wrong kind", {"steering.json": b'{"prompts": []}'}, "no_questions", "/steering.json", "a list of questions"),
    ("a question of a wrong kind", {"steering.json": b'["a", 3]'}, "model_type", "/steering/questions/1", "steering.json, question 2"),
    ("unknown file", {"readme.md": b"x"}, "unknown_file", "/readme.md", "positive.txt"),
    ("pickle", {"vectors.pt": b"x"}, "unknown_file", "/vectors.pt", "positive.txt"),
    ("not UTF-8", {"positive.txt": b"good\nb\xffd\n"}, "invalid_utf8", "/positive.txt", "line 2: byte 6 (0xFF)"),
    ("bad JSON line", {"positive.jsonl": b'{"prompt": "a"}\n\n{"prompt": \n'}, "malformed_json", "/positive.jsonl", "positive.jsonl, line 3"),
    ("bad JSON", {"steering.json": b'{\n"questions": [\n}'}, "malformed_json", "/steering.json", "line 3"),
    ("a line without a prompt", {"positive.jsonl": b'{"prompt": "a"}\n{"text": "b"}\n'},
     "missing_field", "/positive/1/prompt", "positive.jsonl, line 2"),
    ("a line of a wrong type", {"positive.jsonl": b'{"prompt": "a"}\n[1]\n'}, "model_type", "/positive/1", "line 2"),
    ("half a surrogate pair", {"positive.jsonl": b'{"prompt": "a"}\n{"prompt": "\\ud800"}\n'}, "string_unicode", "/positive/1/prompt", "line 2"),
    ("NUL in a line", {"positive.txt": b"a\nb\x00\n"}, "invalid_characters", "/positive/1/prompt", "U+0000"),
    ("deep nesting", {"steering.json": b"[" * 10_000}, "malformed_json", "/steering.json", "nested"),
    ("a huge number", {"positive.jsonl": b'{"prompt": ' + b"1" * 10_000 + b"}"}, "malformed_json", "/positive.jsonl", "line 1"),
    ("a seed that is true", {"split.json": b'{"seed": true}'}, "int_type", "/split.json/seed", "split.json: seed"),
    ("a seed past every float", {"split.json": b'{"seed": 1e400}'}, "int_type", "/split.json/seed", "split.json: seed"),
    ("a cluster of two lines", {"positive.jsonl": b'{"prompt": "a"}\n{"prompt": "b", "cluster": "c\\nd"}\n'},
     "invalid_characters", "/positive/1/cluster", "positive.jsonl, line 2"),
    ("contradicting splits", {"steering.json": b'[{"question": "a", "cluster": "c", "split": "test"}]', "split.json": b'{"selection": ["c"]}'},
     "contradicting_split", "/steering/questions/0/split", "split.json in selection"),
]  # fmt: skip


@pytest.fixture
def nothing_stored(sessions: sessionmaker[Session]) -> Iterator[None]:
    yield
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Trait).where(Trait.owner != "binnacle")) == 0


@pytest.mark.usefixtures("nothing_stored")
def test_each_bad_dataset_is_refused_by_row_with_its_numbers(ada: httpx2.Client) -> None:
    for what, change, code, pointer, words in BODIES:
        body = json.dumps({**TRAIT, **change})
        found = problem(ada.post("/v1/traits", content=body, headers={"Content-Type": "application/json"}), 422)
        error = found["errors"][0]
        assert (error["code"], error["pointer"]) == (code, pointer), what
        assert words in found["detail"], what


@pytest.mark.usefixtures("nothing_stored")
def test_each_bad_file_is_refused_by_its_name_and_line(ada: httpx2.Client) -> None:
    for what, change, code, pointer, words in FILES:
        files = [("files", (name, data)) for name, data in {**GOOD, **change}.items() if data is not None]
        found = problem(ada.post("/v1/traits", data={"name": "bad"}, files=files), 422)
        error = found["errors"][0]
        assert (error["code"], error["pointer"]) == (code, pointer), what
        assert words in found["detail"], what


@pytest.mark.usefixtures("nothing_stored")
def test_half_a_surrogate_pair_in_a_table_is_refused_by_the_line_of_its_class(ada: httpx2.Client) -> None:
    rows = [{"prompt": f"q {row}", "positive": "yes \ud800" if row == 3 else "yes", "negative": "no"} for row in range(9)]
    table = ("pairs.jsonl", "\n".join(map(json.dumps, rows)).encode())
    [error] = problem(ada.post("/v1/traits", data={"name": "bad"}, files=[("files", table)]), 422)["errors"]
    assert error["code"] == "string_unicode"
    assert "positive.jsonl, line" in error["detail"]


@pytest.mark.usefixtures("nothing_stored")
def test_bad_forms_and_bodies_are_refused(ada: httpx2.Client) -> None:
    files = [("files", (name, data)) for name, data in GOOD.items()]
    assert problem(ada.post("/v1/traits", files=files), 422)["errors"][0]["pointer"] == "/name"
    assert problem(ada.post("/v1/traits", data={"name": "x", "nam": "y"}, files=files), 422)["code"] == "unknown_field"
    assert problem(ada.post("/v1/traits", data={"name": "x"}, files=[*files, files[0]]), 422)["code"] == "duplicate_part"
    assert problem(ada.post("/v1/traits", data={"name": "x", "seed": "one"}, files=files), 422)["errors"][0]["pointer"] == "/seed"
    form = {"Content-Type": "multipart/form-data"}
    assert ada.post("/v1/traits", content=b"x", headers=form).status_code == 400
    for content, status in (
        (b"{", 400),
        (b"", 422),
        (b"[]", 422),
        (b"\xff\xfe", 400),
        (b"[" * 10_000, 400),
        (b"[" * 100_000, 413),
        (b"1" * 10_000, 400),
    ):
        answer = ada.post("/v1/traits", content=content, headers={"Content-Type": "application/json"})
        assert problem(answer, status)


def test_the_dataset_as_stored_has_a_limit_too(api: Running, ada: httpx2.Client) -> None:
    long = [f"{number} {'x' * 19_000}" for number in range(270)]
    files = [("files", (name, data)) for name, data in {**GOOD, "positive.txt": "\n".join(long).encode()}.items()]
    found = problem(ada.post("/v1/traits", data={"name": "long"}, files=files), 422)
    assert found["code"] == "trait_too_large"
    assert "this server allows 5,000,000" in found["detail"]


def test_a_refusal_does_not_repeat_what_was_sent(ada: httpx2.Client) -> None:
    files = {**GOOD, "positive.jsonl": b'{"prompt": {"my": "private prompt"}}'}
    answer = ada.post("/v1/traits", data={"name": "x"}, files=[("files", (name, data)) for name, data in files.items()])
    assert problem(answer, 422)
    assert "private" not in answer.text
