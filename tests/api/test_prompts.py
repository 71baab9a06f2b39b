"""`prompts` hold texts, or objects with a text and a system prompt, in every kind that takes them."""

import io
import json
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.api.conftest import FACTS, Running, submit
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
    error = problem(long, 422)["errors"][0]
    assert error["pointer"] == "/prompts/0"
    assert "has 40,000 characters together with its system prompt; this server allows 20,000" in error["detail"]


LOWERED = {"prompts": 2, "prompt_characters": 30, "new_tokens": 8, "tokens": 20}
LONG = "a" * 31
GENERATION = {"model": "demo", "prompts": ["a ?"], "max_new_tokens": 8}
STEERING = {"model": "demo", "trait": "refusal", "methods": ["probe"], "max_new_tokens": 8}


@pytest.mark.parametrize(
    ("kind", "body", "pointer", "code"),
    [
        ("generations", {**GENERATION, "max_new_tokens": 9}, "/max_new_tokens", "too_many_new_tokens"),
        ("generations", {**GENERATION, "prompts": ["a ?", "b ?", "c ?"], "max_new_tokens": 1}, "/prompts", "too_many_prompts"),
        ("generations", {**GENERATION, "prompts": ["a ?", LONG]}, "/prompts/1", "prompt_too_long"),
        ("generations", {**GENERATION, "prompts": ["a ?", "b ?", "c ?"]}, "/max_new_tokens", "token_budget_exceeded"),
        ("steerings", {**STEERING, "questions": {"selection": ["a ?", LONG], "test": ["b ?"]}}, "/questions/selection/1", "prompt_too_long"),
        ("steerings", {**STEERING, "questions": {"selection": ["a ?"], "test": [LONG]}}, "/questions/test/0", "prompt_too_long"),
        ("steerings", {**STEERING, "capability": [{"question": LONG, "answer": "yes"}]}, "/capability/0/question", "prompt_too_long"),
    ],
)  # fmt: skip
def test_every_kind_keeps_to_the_limits_that_an_operator_lowered(
    api: Running, ada: httpx2.Client, monkeypatch: pytest.MonkeyPatch, kind: str, body: dict[str, Any], pointer: str, code: str
) -> None:
    """Calibrations and traits kept to them; generations and the questions of a steering did not."""
    for name, value in LOWERED.items():
        monkeypatch.setattr(api.context.settings.limit, name, value)
    for query in ("", "?dry_run=true"):
        error = problem(ada.post(f"/v1/{kind}{query}", json=body), 422)["errors"][0]
        assert (error["pointer"], error["code"]) == (pointer, code), error
        assert "; this server allows " in error["detail"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("steerings", STEERING),
        ("extractions", {"model": "demo", "trait": "refusal", "methods": ["mean_diff_cleaned"]}),
        ("generations", {**GENERATION, "vectors": ["OWN"]}),
    ],
)
def test_a_calibration_that_cannot_be_made_for_a_request_is_refused_as_such(
    api: Running, ada: httpx2.Client, monkeypatch: pytest.MonkeyPatch, kind: str, body: dict[str, Any]
) -> None:
    """The request was refused for a /max_new_tokens of 128, which was not its own."""
    numbers = io.BytesIO()
    np.save(numbers, np.ones(FACTS["widths"]["residual"], "f4"))
    files = {"file": ("v.npy", numbers.getvalue())}
    made = ada.post("/v1/vectors", data={"model": "demo", "vector_layers": "2"}, files=files)
    assert made.status_code == 201, made.text
    own = json.loads(json.dumps(body).replace("OWN", made.json()["items"][0]["id"]))
    monkeypatch.setattr(api.context.settings.limit, "new_tokens", 64)
    for query in ("", "?dry_run=true"):
        error = problem(ada.post(f"/v1/{kind}{query}", json=own), 422)["errors"][0]
        assert (error["pointer"], error["code"]) == ("/calibration", "too_many_new_tokens"), error
        assert "POST /v1/calibrations" in error["detail"]
    monkeypatch.undo()
    monkeypatch.setattr(api.context.settings.limit, "tokens", 6_000)
    error = problem(ada.post(f"/v1/{kind}?dry_run=true", json=own | {"max_new_tokens": 8}), 422)["errors"][0]
    assert (error["pointer"], error["code"]) == ("/calibration", "token_budget_exceeded"), error
    assert "= 6,400 generated tokens; this server allows 6,000. Make a calibration with shorter answers first" in error["detail"]


def test_an_extraction_that_cannot_be_made_for_a_steering_is_refused_by_its_positions(
    api: Running, ada: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steering was refused for /max_new_tokens, which was 64 in its own request or as its default."""
    monkeypatch.setattr(api.context.settings.limit, "new_tokens", 1_000)
    body = {"model": "demo", "trait": "refusal", "methods": ["mean_diff"], "positions": ["response[:3000]"]}
    for query in ("", "?dry_run=true"):
        error = problem(ada.post(f"/v1/steerings{query}", json=body), 422)["errors"][0]
        assert (error["pointer"], error["code"]) == ("/positions", "too_many_new_tokens"), error
        assert error["detail"].startswith("The extraction that would be made for this request is refused: 3,000 new tokens; ")


def test_every_field_called_prompts_takes_both_forms() -> None:
    found = {where: schema["properties"]["prompts"] for where, schema in described() if "prompts" in schema.get("properties", {})}
    found.pop("CostOut")  # a count
    assert set(found) == {"CalibrationRequest", "GenerationRequest"}
    for where, field in found.items():
        text = json.dumps(field)
        assert "PromptIn" in text, where
        assert '"type": "string"' in text, where
