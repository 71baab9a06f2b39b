"""Query parameters: unknown ones are refused by every route with a key, and so is a single value given twice."""

import json
import re

import httpx2

from app.openapi import FILE
from tests.api.conftest import submit

ROUTES = [
    (method.upper(), path)
    for path, item in json.loads(FILE.read_text())["paths"].items()
    for method, operation in item.items()
    if path.startswith("/v1/") and operation.get("security")
]


def test_a_parameter_that_the_route_does_not_have_is_refused_by_every_route(admin: httpx2.Client) -> None:
    assert len(ROUTES) > 80
    for method, path in ROUTES:
        answer = admin.request(method, re.sub(r"\{\w+\}", "x", path), params={"dryrun": "true"})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_parameter"), (method, path)
        assert answer.json()["errors"][0]["parameter"] == "query.dryrun"


def test_a_misspelt_dry_run_submits_nothing_and_the_answer_names_the_right_one(ada: httpx2.Client) -> None:
    answer = ada.post("/v1/calibrations", params={"dryrun": "true"}, json={"model": "demo"})
    assert answer.status_code == 422
    assert "Did you mean dry_run?" in answer.json()["detail"]
    assert ada.get("/v1/jobs").json()["items"] == []


def test_thousands_of_unknown_parameters_are_not_all_listed(ada: httpx2.Client) -> None:
    answer = ada.get("/v1/jobs?" + "&".join(f"stat{n}" for n in range(5000)))
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20


def test_one_value_given_twice_is_refused_and_a_list_is_not(ada: httpx2.Client) -> None:
    submit(ada)
    twice = ada.get("/v1/jobs", params=[("limit", "1"), ("limit", "2")])
    assert (twice.status_code, twice.json()["code"]) == (422, "repeated_parameter")
    several = ada.get("/v1/jobs", params=[("state", "queued"), ("state", "running")])
    assert len(several.json()["items"]) == 1
