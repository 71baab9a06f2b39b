"""`prompts` hold texts, or objects with a text and a system prompt, in every kind that takes them."""

import json
from typing import Any

import httpx2
import pytest

from tests.api.conftest import submit
from tests.api.describing import described
from tests.api.test_bad_input import problem

pytestmark = pytest.mark.usefixtures("specs_as_written")


@pytest.mark.parametrize("prompts", [["a ?"], [{"prompt": "a ?"}], [{"prompt": "a ?", "system_prompt": None}]])
def test_a_prompt_is_a_text_or_an_object_in_every_kind(ada: httpx2.Client, prompts: list[Any]) -> None:
    """The spec is the same, so that `reuse` finds it, whichever form it was sent in."""
    calibration, generation = (
        submit(ada, prompts=prompts),
        ada.post("/v1/generations", json={"model": "demo", "prompts": prompts}),
    )
    assert calibration["spec"]["prompts"] == ["a ?"]
    assert generation.json()["spec"]["prompts"] == [{"prompt": "a ?", "system_prompt": None}]


def test_a_system_prompt_counts_and_stays_in_a_calibrations_spec(ada: httpx2.Client) -> None:
    mixed = ["a ?", {"prompt": "b ?", "system_prompt": "Be brief."}]
    assert submit(ada, prompts=mixed)["spec"]["prompts"] == mixed
    long = ada.post(
        "/v1/calibrations", json={"model": "demo", "prompts": [{"prompt": "a" * 20_000, "system_prompt": "b" * 20_000}]}
    )
    assert problem(long, 422)["errors"][0]["pointer"] == "/prompts/0"


def test_every_field_called_prompts_takes_both_forms() -> None:
    found = {where: schema["properties"]["prompts"] for where, schema in described() if "prompts" in schema.get("properties", {})}
    found.pop("CostOut")  # a count
    assert set(found) == {"CalibrationRequest", "GenerationRequest"}
    for where, field in found.items():
        text = json.dumps(field)
        assert "PromptIn" in text, where
        assert '"type": "string"' in text, where
