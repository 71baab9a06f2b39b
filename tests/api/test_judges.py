"""Judges: administrators add and delete them, all users see them, and secrets and private addresses are refused."""

import re
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.errors import Problem
from app.judges import service
from app.judges.models import Judge
from tests.api.conftest import Running

ENDPOINT = {
    "name": "house",
    "kind": "openai",
    "model": "judge-7b",
    "url": "http://judge.internal:8000/v1",
    "key_env": "HOUSE_JUDGE_KEY",
}


def test_the_built_in_judges_are_always_there(ada: httpx2.Client) -> None:
    reference, phrases = ada.get("/v1/judges").json()["items"]
    assert (phrases["name"], phrases["kind"], phrases["model"]) == ("refusal-phrases", "phrases", None)
    assert (reference["name"], reference["kind"], reference["model"]) == ("reference", "reference", None)


def test_an_administrator_adds_and_deletes_what_everybody_sees(admin: httpx2.Client, ada: httpx2.Client) -> None:
    made = admin.post("/v1/judges", json={**ENDPOINT, "options": {"concurrency": 4}})
    assert made.status_code == 201, made.text
    listed = ada.get("/v1/judges").json()["items"]
    assert [one["name"] for one in listed] == ["reference", "refusal-phrases", "house"]
    assert listed[2] == made.json()
    assert listed[2]["options"]["concurrency"] == 4
    assert listed[2]["created_by"] == "root"
    assert admin.delete("/v1/judges/house").status_code == 204
    assert [one["name"] for one in ada.get("/v1/judges").json()["items"]] == ["reference", "refusal-phrases"]
    assert admin.delete("/v1/judges/house").json()["code"] == "not_found"


def test_members_may_not_add_or_delete(admin: httpx2.Client, ada: httpx2.Client) -> None:
    admin.post("/v1/judges", json=ENDPOINT)
    assert ada.post("/v1/judges", json={**ENDPOINT, "name": "mine"}).status_code == 403
    assert ada.delete("/v1/judges/house").status_code == 403


def test_a_registered_model_may_judge(api: Running, admin: httpx2.Client) -> None:
    made = admin.post("/v1/judges", json={"name": "own", "kind": "local", "model": "demo"})
    assert (made.status_code, made.json()["url"]) == (201, None)
    refused = admin.post("/v1/judges", json={"name": "other", "kind": "local", "model": "none"}).json()
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("unknown_model", "/model")


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"url": None}, "url_missing", "/url"),
        ({"url": "file:///etc/passwd"}, "invalid_url", "/url"),
        ({"url": "ftp://judge/v1"}, "invalid_url", "/url"),
        ({"url": "judge.internal/v1"}, "invalid_url", "/url"),
        ({"url": "http://"}, "invalid_url", "/url"),
        ({"url": "http://judge:99999/v1"}, "invalid_url", "/url"),
        ({"url": "http://[::1/v1"}, "invalid_url", "/url"),
        ({"url": "http://a..b/v1"}, "invalid_url", "/url"),
        ({"url": "http://judge/v1 /x"}, "invalid_url", "/url"),
        ({"url": "http://judge/v1?key=abc"}, "invalid_url", "/url"),
        ({"url": "https://user:secret@judge/v1"}, "credentials_in_url", "/url"),
        ({"key_env": "sk-abcdef"}, "string_pattern_mismatch", "/key_env"),
        ({"key_env": "DATABASE_URL"}, "string_pattern_mismatch", "/key_env"),
        ({"key_env": "BINNACLE_PEPPER_KEY"}, "reserved_key_env", "/key_env"),
        ({"key_env": "AWS_SECRET_ACCESS_KEY"}, "reserved_key_env", "/key_env"),
        ({"name": "../x"}, "string_pattern_mismatch", "/name"),
        ({"kind": "anthropic"}, "literal_error", "/kind"),
        ({"api_key": "sk-1"}, "unknown_field", "/api_key"),
        ({"options": {"concurrency": 0}}, "greater_than_equal", "/options/concurrency"),
        ({"options": {"extra": {"logprobs": False}}}, "reserved_field", "/options/extra"),
        ({"kind": "local", "model": "demo"}, "not_for_local", "/url"),
    ],
)
def test_an_invalid_judge_is_refused_by_field(admin: httpx2.Client, change: dict[str, Any], code: str, pointer: str) -> None:
    refused = admin.post("/v1/judges", json={**ENDPOINT, **change})
    body = refused.json()
    assert (refused.status_code, body["errors"][0]["code"], body["errors"][0]["pointer"]) == (422, code, pointer)
    assert "secret@" not in refused.text


@pytest.mark.parametrize("name", ["house", "reference", "refusal-phrases"])
def test_a_name_is_used_once(admin: httpx2.Client, name: str) -> None:
    admin.post("/v1/judges", json=ENDPOINT)
    assert admin.post("/v1/judges", json={**ENDPOINT, "name": name}).json()["code"] == "judge_exists"
    assert admin.delete("/v1/judges/reference").json()["code"] == "judge_built_in"


def test_a_usable_judge_has_all_that_a_job_needs_to_ask_it(admin: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    admin.post("/v1/judges", json=ENDPOINT)
    with sessions.begin() as session:
        found = service.usable(session, "house")
        assert found["options"].pop("concurrency") == 8
        assert {k: v for k, v in found.items() if k != "options"} == ENDPOINT
        assert service.usable(session, "reference")["kind"] == "reference"
        assert service.resolve(session, "none") is None
        with pytest.raises(Problem) as refused:
            service.usable(session, "none", "/vetting/judge")
        assert session.scalars(select(Judge.key_env)).all() == ["HOUSE_JUDGE_KEY"]
    assert "This server has: reference, refusal-phrases, house." in refused.value.detail
    assert refused.value.errors[0]["pointer"] == "/vetting/judge"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.7", "[::1]", "[::ffff:10.0.0.7]", "[64:ff9b::a00:7]", "[2002:a00:7::1]", "[::a00:7]", "192.0.0.8",
             "169.254.169.254",
             "localhost", "2130706433", "0x7f.1", "100.64.0.1", "[fd00::1]"],
)  # fmt: skip
def test_a_judge_in_a_private_network_must_be_allowed_by_name(admin: httpx2.Client, host: str) -> None:
    url = f"http://{host}:8000/v1"
    problem = admin.post("/v1/judges", json={**ENDPOINT, "url": url}).json()
    assert (problem["code"], problem["errors"][0]["pointer"]) == ("private_address", "/url")
    assert "private_hosts" in problem["detail"]
    address = re.search(r"leads to ([0-9a-f.:]+)\. This is not", problem["detail"])
    assert address is not None
    made = admin.post("/v1/judges", json={**ENDPOINT, "url": url, "options": {"private_hosts": [address[1]]}})
    assert made.status_code == 201, made.text
    assert made.json()["options"]["private_hosts"] == [address[1]]


def test_a_judges_addresses_are_checked_before_it_is_listed(admin: httpx2.Client) -> None:
    """A private host must be allowed by its own name; other names and networks do not allow it, and invalid names are refused."""
    url = {"url": "http://localhost:8000/v1"}
    assert admin.post("/v1/judges", json={**ENDPOINT, **url, "options": {"private_hosts": ["localhost"]}}).status_code == 201
    for other in (["example.org"], ["10.0.0.0/8"], []):
        again = {**ENDPOINT, **url, "name": "other", "options": {"private_hosts": other}}
        assert admin.post("/v1/judges", json=again).json()["code"] == "private_address"
    wrong = admin.post("/v1/judges", json={**ENDPOINT, "options": {"private_hosts": ["a b\n"]}})
    assert wrong.json()["errors"][0]["pointer"] == "/options/private_hosts/0"
    assert [one["name"] for one in admin.get("/v1/judges").json()["items"]] == ["reference", "refusal-phrases", "house"]
