"""Every error of a validator is a sentence of our own: no text of the framework and no regular expression reaches a person."""

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core._pydantic_core import list_all_errors

from app.main import create_app
from app.refusals import PATTERNS, UNKNOWN, sentence
from app.text import LINE


def patterns_of(schema: Any) -> set[str]:
    """Every regular expression within a JSON schema."""
    if isinstance(schema, list):
        return set().union(*map(patterns_of, schema))
    if not isinstance(schema, dict):
        return set()
    own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
    own |= set(schema.get("patternProperties", {}))
    return own.union(*map(patterns_of, schema.values()))


@pytest.mark.parametrize("pattern", sorted(patterns_of(create_app().openapi()) - {LINE}))
def test_every_pattern_of_the_api_has_words(pattern: str) -> None:
    said = sentence({"type": "string_pattern_mismatch", "ctx": {"pattern": pattern}, "input": "?"})
    assert said != UNKNOWN
    assert pattern not in said


def test_no_words_are_left_of_a_pattern_that_is_gone() -> None:
    forms = {r"^[^\x00]*$"}  # of the pages' own forms, which the document does not show
    assert set(PATTERNS) - forms <= patterns_of(create_app().openapi())


@pytest.mark.parametrize("known", list_all_errors(), ids=lambda known: known["type"])
def test_no_type_of_error_is_said_in_the_framework_s_words(known: Any) -> None:
    facts = known.get("example_context") or {}
    said = sentence({"type": known["type"], "ctx": facts, "input": "a b"})
    assert re.fullmatch(r"[A-Z].*\.", said)
    assert not re.search(r"Input should|String should|should (be|have|match)|Value error|Extra inputs|Assertion failed", said)
    assert (facts.get("pattern") or "\0") not in said


class Everything(BaseModel):
    """One field for each constraint that requests of the API use."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(min_length=1, max_length=3)] = "a"
    short: Annotated[str, Field(min_length=2)] = "ab"
    code: Annotated[str, Field(pattern=r"^(cal|job)_[0-9a-z]{26}$")] | None = None
    rows: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    share: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.5
    count: Annotated[int, Field(ge=1, le=2000)] = 1
    step: Annotated[int, Field(multiple_of=5)] = 5
    way: Literal["add", "ablate"] = "add"
    yes: bool = True
    when: AwareDatetime | None = None
    names: dict[str, int] = {}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"text": ""}, "The text must not be empty."),
        ({"text": "abcd"}, "The text must have at most 3 characters; it has 4 characters."),
        ({"short": "a"}, "The text must have at least 2 characters; it has 1 character."),
        ({"text": 7}, "The value must be text in double quotes."),
        ({"code": "x"}, "The value must be an id: cal_ or job_ and 26 letters and digits."),
        ({"rows": []}, "The list must have at least 1 entry; it has 0 entries."),
        ({"rows": [1, 2, 3]}, "The list must have at most 2 entries; it has 3 entries."),
        ({"rows": 1}, "The value must be a list, in square brackets."),
        ({"share": 0}, "The value must be greater than 0; it is 0."),
        ({"share": 1.5}, "The value must be less than 1; it is 1.5."),
        ({"share": float("nan")}, "The value must be a finite number."),
        ({"count": 0}, "The value must be at least 1; it is 0."),
        ({"count": 4096}, "The value must be at most 2,000; it is 4,096."),
        ({"count": 1.5}, "The value must be a whole number."),
        ({"step": 7}, "The value must be a multiple of 5; it is 7."),
        ({"way": "push"}, "The value must be 'add' or 'ablate'."),
        ({"yes": "maybe"}, "The value must be true or false."),
        ({"when": "2026-01-31T12:00:00"}, "The value must be a time with its zone, such as 2026-01-31T12:00:00Z."),
        ({"names": 3}, "The value must be a JSON object, in braces."),
        ({"colour": 3}, "The request does not take this field; /openapi.json lists the fields it takes."),
    ],
)
def test_a_constraint_is_said_with_its_arithmetic(sent: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Everything.model_validate(sent, strict=sent.keys().isdisjoint({"count", "when"}))
    assert sentence(refused.value.errors()[0]) == expected
