"""Bad requests are answered with a problem that names the field and the limit, and store nothing."""

import gzip
import json
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.jobs.models import Job
from tests.api.conftest import Running

UNKNOWN_JOB = "job_" + "0" * 26
BUDGET = "2,000 prompts x 256 new tokens = 512,000 generated tokens; this server allows 500,000"
BODIES: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("unknown model", {"model": "gpt-5"}, "unknown_model", "/model", "This server allows: demo"),
    ("faulty model", {"model": "broken"}, "faulty_model", "/model", "nan_weights: 3 tensors hold NaN."),
    ("no model", {}, "missing_field", "/model", "required"),
    ("unknown field", {"model": "demo", "layer": [1]}, "unknown_field", "/layer", "does not take this field"),
    ("wrong type", {"model": "demo", "layers": ["one"]}, "int_type", "/layers/0", "whole number"),
    ("a number as text", {"model": "demo", "max_new_tokens": "64"}, "int_type", "/max_new_tokens", "whole number"),
    ("false for a number", {"model": "demo", "priority": False}, "int_type", "/priority", "whole number"),
    ("layers out of range", {"model": "demo", "layers": [0, 8]}, "layer_out_of_range", "/layers/1", "8 layers, 0 to 7"),
    ("negative layer", {"model": "demo", "layers": [-1]}, "greater_than_equal", "/layers/0", "0"),
    ("no layers", {"model": "demo", "layers": []}, "too_short", "/layers", "1"),
    ("no prompts", {"model": "demo", "prompts": []}, "too_short", "/prompts", "1"),
    ("empty prompt", {"model": "demo", "prompts": ["a", ""]}, "string_too_short", "/prompts/1", "must not be empty"),
    ("blank prompt", {"model": "demo", "prompts": ["a", " \n\t"]}, "blank_prompt", "/prompts/1", "white space"),
    ("too many prompts", {"model": "demo", "prompts": ["a"] * 2001}, "too_many_prompts", "/prompts", "2,001 prompts; this server allows 2,000"),
    ("long prompt", {"model": "demo", "prompts": ["a" * 20_001]}, "string_too_long", "/prompts/0", "20,000"),
    ("NUL in a prompt", {"model": "demo", "prompts": ["a", "b\x00c"]}, "invalid_characters", "/prompts/1", "U+0000 at position 1"),
    ("control character", {"model": "demo", "notes": "\x1b[31m"}, "invalid_characters", "/notes", "U+001B"),
    ("half a surrogate pair", {"model": "demo", "name": "\ud800"}, "string_unicode", "/name", "surrogate pair"),
    ("too many new tokens", {"model": "demo", "max_new_tokens": 1025}, "too_many_new_tokens", "/max_new_tokens", "1,025; this server"),
    ("no new tokens", {"model": "demo", "max_new_tokens": 0}, "greater_than_equal", "/max_new_tokens", "1"),
    ("longer than the context", {"model": "demo", "max_new_tokens": 512}, "context_exceeded", "/max_new_tokens", "512 tokens"),
    ("over the budget", {"model": "demo", "prompts": ["a"] * 2000, "max_new_tokens": 256}, "token_budget_exceeded", "/prompts", BUDGET),
    ("unknown rule", {"model": "demo", "rule": "largest"}, "string_pattern_mismatch", "/rule", "such as peeling"),
    ("after an unknown job", {"model": "demo", "after": [{"job": UNKNOWN_JOB}]}, "unknown_job", "/after/0/job", UNKNOWN_JOB),
    ("after no job", {"model": "demo", "after": [{"job": "1; DROP"}]}, "string_pattern_mismatch", "/after/0/job", "job_ and 26"),
    ("bad tag", {"model": "demo", "tags": ["ok", "<b>"]}, "string_pattern_mismatch", "/tags/1", "letters, digits, spaces"),
    ("a slash in a field's name", {"model": "demo", "a/b~c": 1}, "unknown_field", "/a~1b~0c", "does not take this field"),
]  # fmt: skip
"""What is wrong; the body; the code and the pointer of its error; words of its detail."""


@pytest.fixture
def client(api: Running, ada: httpx2.Client) -> httpx2.Client:
    api.add_model("broken", state="faulty", facts={}, fault={"code": "nan_weights", "detail": "3 tensors hold NaN."})
    return ada


def problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    """Checks what every problem has; returns its body."""
    body: dict[str, Any] = response.json()
    assert response.status_code == status, body
    assert response.headers["Content-Type"] == "application/problem+json"
    assert body["type"] == f"/problems/{body['code']}"
    assert (body["status"], body["request_id"]) == (status, response.headers["X-Request-ID"])
    assert body["title"]
    assert body["detail"]
    return body


def test_each_bad_body_is_refused_by_field_with_its_numbers(client: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    for what, body, code, pointer, words in BODIES:
        found = problem(
            client.post("/v1/calibrations", content=json.dumps(body), headers={"Content-Type": "application/json"}), 422
        )
        error = found["errors"][0]
        assert (error["code"], error["pointer"]) == (code, pointer), what
        assert words in error["detail"], what
        assert words in found["detail"], what
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [(b'{"model": ', "value is missing"), (b"", "required"), (b"[1]", "JSON object"), (b'"x"', "JSON object"), (b"\xff\xfe", "")],
)
def test_bodies_that_are_not_an_object_are_refused(client: httpx2.Client, content: bytes, words: str) -> None:
    response = client.post("/v1/calibrations", content=content, headers={"Content-Type": "application/json"})
    found = problem(response, response.status_code)
    assert response.status_code in (400, 422)
    assert words in found["detail"]


def test_a_body_over_the_limit_is_refused_with_both_sizes_stated_or_not(api: Running, client: httpx2.Client) -> None:
    """10 MB of prompts, once with a Content-Length and once in chunks, which no header announces."""
    body = json.dumps({"model": "demo", "prompts": ["x" * 10_000] * 1000}).encode()
    stated = client.post("/v1/calibrations", content=body, headers={"Content-Type": "application/json"})
    chunks = (body[i : i + 100_000] for i in range(0, len(body), 100_000))
    unstated = client.post("/v1/calibrations", content=chunks, headers={"Content-Type": "application/json"})
    for response in (stated, unstated):
        found = problem(response, 413)
        assert found["code"] == "body_too_large"
        assert "this server allows 5,000,000" in found["detail"]
    assert client.get("/v1/jobs").status_code == 200


def test_encoded_bodies_and_other_media_types_are_refused(client: httpx2.Client) -> None:
    body = b'{"model": "demo"}'
    packed = client.post(
        "/v1/calibrations", content=gzip.compress(body), headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
    )
    form = client.post("/v1/calibrations", content=b"model=demo", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert problem(packed, 415)["code"] == "unsupported_encoding"
    told = problem(form, 415)
    assert (told["code"], "multipart/form-data (curl -F)" in told["detail"]) == ("unsupported_media_type", True)


def test_unknown_paths_and_methods_answer_with_a_problem(client: httpx2.Client) -> None:
    assert problem(client.get("/v1/nothing"), 404)["code"] == "not_found"
    assert problem(client.put("/v1/jobs"), 405)["code"] == "method_not_allowed"
    assert (
        client.put(f"/v1/jobs/{UNKNOWN_JOB}").headers["Allow"] == "GET, PATCH, DELETE"
    )  # of every route there, not of the first
    assert problem(client.get(f"/v1/jobs/{UNKNOWN_JOB}"), 404)["code"] == "not_found"
    assert problem(client.get("/v1/jobs/..%00"), 400)["code"] == "malformed_request"
    assert problem(client.get("/v1/jobs?name=%00"), 400)["code"] == "malformed_request"
    wrong = problem(client.get("/v1/jobs/JOB_1"), 422)
    assert wrong["errors"][0]["parameter"] == "path.job_id"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "query.limit"),
        ("limit=x", "query.limit"),
        ("state=done", "query.state.0"),
        ("created_after=yesterday", "query.created_after"),
        ("created_after=0.5", "query.created_after"),
        ("created_before=1767225600", "query.created_before"),
        ("created_after=2026-01-01T00:00:00", "query.created_after"),
        ("cursor=bm9uc2Vuc2U", "query.cursor"),
        ("cursor=%C3%A9", "query.cursor"),
    ],
)
def test_bad_parameters_are_named(client: httpx2.Client, query: str, parameter: str) -> None:
    assert problem(client.get(f"/v1/jobs?{query}"), 422)["errors"][0]["parameter"] == parameter


def test_a_file_that_is_not_ascii_is_invalid_base64(client: httpx2.Client) -> None:
    found = problem(client.post("/v1/vectors", json={"model": "demo", "file": "\u00e9"}), 422)
    assert (found["errors"][0]["code"], found["errors"][0]["pointer"]) == ("invalid_base64", "/file")


def test_a_refusal_does_not_repeat_what_was_sent(client: httpx2.Client) -> None:
    """An error is logged and shown in many places; a prompt belongs in none of them."""
    response = client.post("/v1/calibrations", json={"model": "demo", "prompts": [{"secret": "my private prompt"}]})
    assert problem(response, 422)
    assert "private" not in response.text
