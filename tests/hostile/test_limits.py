"""Requests past every limit are refused with the numbers, and no number is so large that it wraps round to an allowed one."""

from typing import Any

import httpx2
import pytest

from tests.api.process import ApiProcess
from tests.hostile.conftest import refused

HUGE = (2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 10**300)
"""Each overflows some integer or float type, or is the last that does not."""
CALIBRATION = {"model": "demo"}
EXTRACTION = {"model": "demo", "trait": "refusal"}
STEERING = {"model": "demo", "trait": "refusal"}
STUDY = {"models": ["demo"], "traits": ["refusal"]}
GENERATION = {"model": "demo", "prompts": [{"prompt": "How?"}]}
NUMBERS: list[tuple[str, dict[str, Any], str]] = [
    *(("calibrations", CALIBRATION, field) for field in ("max_new_tokens", "priority", "layers/0")),
    *(
        ("extractions", EXTRACTION, field)
        for field in (
            "max_new_tokens",
            "control_vectors",
            "refits",
            "resamples",
            "seed",
            "layers/0",
            "validation_share",
            "vetting/threshold",
        )
    ),
    *(
        ("steerings", STEERING, field)
        for field in (
            "max_new_tokens",
            "budget",
            "seed",
            "layers/0",
            "doses/0",
            "coefficients/0",
            "controls/random",
            "sampling/seed",
        )
    ),
    *(
        ("studies", STUDY, field)
        for field in ("budget", "refits", "resamples", "ablation/0", "layers/0", "calibration_new_tokens")
    ),
    *(("generations", GENERATION, field) for field in ("max_new_tokens", "doses/0", "coefficients/0", "sampling/temperature")),
]


def put(body: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """The body with the value in that field, or in the list or object that the field's name begins with."""
    name, _, inner = field.partition("/")
    return {**body, name: value if not inner else [value] if inner == "0" else {inner: value}}


@pytest.mark.parametrize(("kind", "body", "field"), NUMBERS, ids=[f"{kind} {field}" for kind, _, field in NUMBERS])
def test_no_number_is_so_large_that_it_passes_for_a_small_one(
    api: ApiProcess, ada: httpx2.Client, kind: str, body: dict[str, Any], field: str
) -> None:
    for value in (*HUGE, *(-one for one in HUGE)):
        refused(ada.post(f"/v1/{kind}", json=put(body, field, value)), 422)


@pytest.mark.parametrize("limit", ["selection_limit", "test_limit"])
def test_a_limit_above_the_number_of_questions_is_accepted(api: ApiProcess, ada: httpx2.Client, limit: str) -> None:
    """A study is planned from the questions that there are."""
    for value in HUGE[:6]:
        answer = ada.post("/v1/studies?dry_run=true", json={**STUDY, limit: value})
        assert answer.status_code == 200, answer.text[:500]
    refused(ada.post("/v1/studies?dry_run=true", json={**STUDY, limit: 1}), 422)


LARGE: list[tuple[str, str, dict[str, Any], str]] = [
    (
        "prompts x tokens",
        "calibrations",
        {**CALIBRATION, "prompts": ["a"] * 2000, "max_new_tokens": 500},
        "2,000 prompts x 500 new tokens",
    ),
    ("too many prompts", "calibrations", {**CALIBRATION, "prompts": ["a"] * 20_000}, "20,000 prompts; this server allows 2,000"),
    ("a long prompt", "calibrations", {**CALIBRATION, "prompts": ["a" * 20_001]}, "at most 20,000 characters"),
    (
        "vectors",
        "extractions",
        {
            **EXTRACTION,
            "methods": [f"mean_diff_largest{n}" for n in range(1, 201)],
            "positions": [f"response[:{n}]" for n in range(1, 21)],
            "layers": list(range(8)),
            "control_vectors": 20,
            "refits": 50,
        },
        "vectors; this server allows 20,000",
    ),
    (
        "a window without end",
        "extractions",
        {**EXTRACTION, "positions": ["response[:9999]"]},
        "this server allows",
    ),
    (
        "answers of a generation",
        "generations",
        {**GENERATION, "prompts": [{"prompt": "a"}] * 64, "vectors": ["vec_" + "0" * 26] * 64, "doses": [0.1] * 32},
        "answers",
    ),
    (
        "questions of a steering",
        "steerings",
        {**STEERING, "questions": {part: [{"question": f"{part} {n}"} for n in range(9000)] for part in ("selection", "test")}},
        "answers; this server allows 200,000",
    ),
    (
        "a study of everything",
        "studies",
        {**STUDY, "models": ["demo"] * 50, "traits": ["refusal"] * 50, "evidence": "full"},
        "5,051 jobs; this server allows 500",
    ),
]


@pytest.mark.parametrize(("kind", "body", "words"), [one[1:] for one in LARGE], ids=[one[0] for one in LARGE])
def test_a_request_that_is_too_large_is_refused_with_its_numbers(
    api: ApiProcess, ada: httpx2.Client, kind: str, body: dict[str, Any], words: str
) -> None:
    found = refused(ada.post(f"/v1/{kind}", json=body), 422)
    assert words in found["detail"], found["detail"]


@pytest.mark.parametrize(
    "name", ["mean_diff_top99999999999999999999", "probe_randomdims" + "9" * 4000, "mean_diff__refit" + "9" * 100]
)
def test_a_number_in_a_methods_name_or_parameters_is_bounded(api: ApiProcess, ada: httpx2.Client, name: str) -> None:
    refused(ada.post("/v1/extractions?dry_run=true", json={**EXTRACTION, "methods": [name[:5000]]}), 422)
    parameters = {"method": "gradient", "steps": 10**300}
    refused(ada.post("/v1/extractions?dry_run=true", json={**EXTRACTION, "methods": [parameters]}), 422)
