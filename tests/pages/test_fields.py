"""What the texts of a form become in the request, and that no value is dropped or replaced silently."""

from typing import Any

import pytest

from app.errors import Problem
from app.pages.forms.fields import Field, named_in_json, request_of
from app.pages.forms.kinds import FORMS

FIELDS = (
    Field("methods", "Methods", "choices"),
    Field("seed", "Seed", "number"),
    Field("layers", "Layers", "layers"),
    Field("more", "More", "json"),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,234", 1234), ("1,234,567.5", 1234567.5), ("-1,234", -1234), ("1,5", "1,5"), ("12,34", "12,34"), ("0.5", 0.5)],
)
def test_a_comma_separates_thousands_and_is_not_a_decimal_point(text: str, value: object) -> None:
    assert request_of(FIELDS, {"seed": [text]}) == {"seed": value}


def test_a_range_that_runs_backwards_stays_a_text_for_the_validation() -> None:
    assert request_of(FIELDS, {"layers": ["2, 5-7"]}) == {"layers": [2, 5, 6, 7]}
    assert request_of(FIELDS, {"layers": ["2, 8-5"]}) == {"layers": [2, "8-5"]}


def test_a_value_in_a_field_and_in_the_json_is_refused() -> None:
    further = '{"methods": [{"method": "gradient", "steps": 500}]}'
    with pytest.raises(Problem) as refused:
        request_of(FIELDS, {"methods": ["probe"], "more": [further]})
    assert refused.value.code == "given_twice"
    assert named_in_json(FIELDS, {"more": [further]}) == {"methods"}


@pytest.mark.parametrize("text", ["", "no json", "[[1]]", '["seed"]', '"seed"', "[" * 20_000])
def test_a_json_field_without_an_object_names_nothing_and_is_refused(text: str) -> None:
    assert named_in_json(FIELDS, {"more": [text]}) == frozenset()
    if text:
        with pytest.raises(Problem) as refused:
            request_of(FIELDS, {"more": [text]})
        assert refused.value.code == "malformed_json"


def test_a_system_prompt_beside_prompts_with_their_own_is_refused() -> None:
    form = FORMS["generate"]
    json_field = next(field.name for field in form.all_fields if field.control == "json")
    values: dict[str, Any] = {"system_prompt": ["Be brief."], json_field: ['{"prompts": [{"prompt": "a ?"}]}']}
    with pytest.raises(Problem) as refused:
        form.body(values)
    assert refused.value.code == "given_twice"
