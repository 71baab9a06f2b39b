"""`layers` mean the same in every request: any order, repeats allowed, one code for a layer that the model does not have, specs in order."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.jobs.models import Job
from app.openapi import FILE
from tests.api.conftest import Running
from tests.api.extracted import store_extraction
from tests.api.finishing import finish_everything

MIXED, ORDERED = [5, 2, 5], [2, 5]
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/calibrations": {"model": "demo"},
    "/v1/extractions": {"model": "demo", "trait": "refusal", "methods": ["probe"]},
    "/v1/steerings": {"model": "demo", "trait": "refusal", "methods": ["probe"]},
    "/v1/studies": {"models": ["demo"], "traits": ["refusal"], "methods": ["probe"], "controls": {"random": 1, "shuffled": 0}},
    "/v1/extractions/{extraction_id}/exports": {"format": "npy"},
}
"""For each route that takes layers: what else it needs."""


def routes_with_layers() -> set[str]:
    """Every route with a field `layers` in its body, from openapi.json."""
    document = json.loads(FILE.read_text())
    found = set()
    for path, operations in document["paths"].items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        schema = content.get("schema", {})
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        field = schema.get("properties", {}).get("layers", {"deprecated": True})
        found |= set() if field.get("deprecated") else {path}
    return found


@pytest.fixture
def extraction(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> str:
    """An extraction with vectors at layers 2 and 5."""
    return store_extraction(sessions, api.context.storage, "ada", ada.get("/v1/traits/refusal").json()["version"])[0]


Ask = Callable[..., httpx2.Response]


@pytest.fixture
def ask(ada: httpx2.Client, extraction: str) -> Ask:
    """Posts a request of a route with these layers."""

    def ask(route: str, layers: list[int], **query: bool) -> httpx2.Response:
        return ada.post(route.format(extraction_id=extraction), json=REQUESTS[route] | {"layers": layers}, params=query)

    return ask


def test_every_route_that_takes_layers_is_tried_here() -> None:
    assert routes_with_layers() == set(REQUESTS)


@pytest.mark.parametrize("route", REQUESTS)
def test_order_and_repeats_make_no_difference(route: str, ask: Ask, sessions: sessionmaker[Session]) -> None:
    """The specs of all jobs that are made are equal, and hold the layers in order."""
    specs = []
    for layers in (MIXED, ORDERED):
        with sessions() as session:
            before = set(session.scalars(select(Job.id)))
        made = ask(route, layers)
        assert made.status_code == 202, made.text
        with sessions() as session:
            jobs = session.scalars(select(Job).where(Job.id.not_in(before)).order_by(Job.id)).all()
            specs.append([(job.kind, layers_in(job.spec)) for job in jobs])
    found = [layers for _, of_the_spec in specs[0] + specs[1] for layers in of_the_spec]
    assert found
    assert all(layers == ORDERED for layers in found), specs


def layers_in(value: Any) -> list[Any]:
    """Every list of layers within a spec. A study's own spec is its request, as it was sent."""
    if isinstance(value, dict):
        own = [value["layers"]] if isinstance(value.get("layers"), list) else []
        return own + [one for name, part in value.items() if name != "study" for one in layers_in(part)]
    return [one for part in value for one in layers_in(part)] if isinstance(value, list) else []


@pytest.mark.parametrize("route", REQUESTS)
def test_a_layer_that_the_model_does_not_have_is_refused_by_one_code(route: str, ask: Ask) -> None:
    refused = ask(route, [2, 8])
    assert refused.status_code == 422, refused.text
    [error] = refused.json()["errors"]
    assert (error["code"], error["pointer"]) == ("layer_out_of_range", "/layers/1")
    assert "demo has 8 layers, 0 to 7" in error["detail"]


def test_layers_in_another_order_reuse_a_steering(ask: Ask, api: Running, sessions: sessionmaker[Session]) -> None:
    assert ask("/v1/steerings", ORDERED).status_code == 202
    finish_everything(sessions, api.context.storage)
    assert ask("/v1/steerings", ORDERED, reuse=True).headers["Binnacle-Reused"]
    again = ask("/v1/steerings", MIXED, reuse=True)
    assert (again.status_code, "Binnacle-Reused" in again.headers) == (200, True), again.text


@pytest.mark.parametrize("route", REQUESTS)
def test_repeats_without_end_are_refused(route: str, ask: Ask) -> None:
    refused = ask(route, [2] * 1_001)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/layers"), refused.text
