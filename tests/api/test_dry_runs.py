"""A dry run refuses what its request refuses, for every submission that has a dry run (found in the API's description) and each of FAULTS."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.jobs.models import Job
from tests.api.conftest import Running, submit
from tests.api.extracted import store_extraction
from tests.api.lives import claim, fail
from tests.hostile.routes import operations, schema_of

DRY = [
    path
    for method, path, told in operations()
    if method == "POST" and any(one.get("name") == "dry_run" for one in told.get("parameters", ()))
]
"""Of submissions; a deletion's are in test_deleting_jobs.py."""
BODIES: dict[str, dict[str, Any]] = {
    "/v1/calibrations": {"model": "demo"},
    "/v1/extractions": {"model": "demo", "trait": "refusal", "methods": ["mean_diff"]},
    "/v1/generations": {"model": "demo", "prompts": [{"prompt": "Hello."}]},
    "/v1/steerings": {"model": "demo", "trait": "refusal"},
    "/v1/studies": {"models": ["demo"], "traits": ["refusal"], "methods": ["mean_diff"], "layers": [2]},
}
Fault = Callable[[str], dict[str, Any]]
FAULTS: dict[str, Fault] = {
    "comes after what failed": lambda failed: {"after": [{"job": failed}]},
    "comes after a job twice": lambda failed: {"after": [{"job": failed, "needs": "end"}] * 2},
    "comes after no job": lambda _failed: {"after": [{"job": f"job_{'0' * 26}"}]},
    "a webhook that is not there": lambda _failed: {"webhook": "nowhere"},
    "a group of others": lambda _failed: {"visibility": "group", "group": "others"},
    "a group without its visibility": lambda _failed: {"group": "others"},
    "a calibration that failed": lambda failed: {"calibration": failed},
    "a calibration that is not there": lambda _failed: {"calibration": f"cal_{'0' * 26}"},
    "a model that is not there": lambda _failed: {"model": "none"},
}


@pytest.fixture
def usable(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> dict[str, str]:
    """A failed calibration, and an extraction to steer with."""
    version = ada.get("/v1/traits/refusal").json()["version"]
    extraction, _ = store_extraction(sessions, api.context.storage, "ada", version)
    failed = submit(ada)["id"]
    fail(sessions, claim(sessions))
    return {"failed": failed, "extraction": extraction}


def test_every_dry_run_has_a_body_here() -> None:
    assert set(DRY) == BODIES.keys()


@pytest.mark.parametrize("path", DRY)
def test_a_dry_run_refuses_what_the_request_refuses(ada: httpx2.Client, usable: dict[str, str], path: str) -> None:
    fields = next(schema_of(told)["properties"] for method, one, told in operations() if (method, one) == ("POST", path))
    base = BODIES[path] | ({"extraction": usable["extraction"]} if path == "/v1/steerings" else {})
    asked = 0
    for what, fault in FAULTS.items():
        change = fault(usable["failed"])
        if not change.keys() <= fields.keys():
            continue
        dry, real = (ada.post(path, params=query, json=base | change) for query in ({"dry_run": "true"}, {}))
        asked += 1
        assert 400 <= real.status_code < 500, (what, real.text)
        assert (dry.status_code, dry.json().get("code")) == (real.status_code, real.json()["code"]), what
    assert asked >= 6
    key = {"Idempotency-Key": "two words"}
    dry, real = (ada.post(path, params=query, json=base, headers=key) for query in ({"dry_run": "true"}, {}))
    assert (dry.status_code, dry.json()["code"]) == (real.status_code, real.json()["code"]) == (422, "invalid_idempotency_key")


@pytest.mark.parametrize("path", DRY)
def test_a_dry_run_that_passes_is_followed_by_a_request_that_passes(
    ada: httpx2.Client, usable: dict[str, str], sessions: sessionmaker[Session], path: str
) -> None:
    base = BODIES[path] | ({"extraction": usable["extraction"]} if path == "/v1/steerings" else {})
    with sessions() as session:
        before = session.scalar(select(func.count()).select_from(Job))
    assert ada.post(path, params={"dry_run": "true"}, json=base).status_code == 200
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == before
    assert ada.post(path, json=base).status_code == 202


@pytest.mark.parametrize("path", [path for path in DRY if path != "/v1/studies"])
def test_special_tokens_are_part_of_the_spec(ada: httpx2.Client, usable: dict[str, str], path: str) -> None:
    base = BODIES[path] | ({"extraction": usable["extraction"]} if path == "/v1/steerings" else {})
    said = [ada.post(path, json=base | more).json()["spec"] for more in ({}, {"special_tokens": "text"})]
    assert [one["special_tokens"] for one in said] == ["markup", "text"]
    if path == "/v1/extractions":
        assert said[0]["rows_key"] != said[1]["rows_key"]
    refused = ada.post(path, json=base | {"special_tokens": "letters"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/special_tokens")


def test_a_study_hands_special_tokens_to_its_jobs(ada: httpx2.Client) -> None:
    study = ada.post("/v1/studies", json=BODIES["/v1/studies"] | {"special_tokens": "text"}).json()
    jobs = ada.get("/v1/jobs", params={"limit": 50}).json()["items"]
    made = {job["kind"]: job["spec"] for job in jobs if job["id"] != study["id"]}
    assert {kind: spec["special_tokens"] for kind, spec in made.items()} == dict.fromkeys(
        ("calibrate", "extract", "steer"), "text"
    )
