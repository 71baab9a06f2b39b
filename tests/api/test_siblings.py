"""Vectors of another model with the same layers and widths are accepted if the request sets `sibling`, and refused otherwise."""

from typing import Any

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.models.models import Model
from terms.methods import is_control
from tests.api.conftest import FACTS, Running
from tests.api.extracted import MASSIVE, store_extraction
from tests.api.test_bad_input import problem

pytestmark = pytest.mark.usefixtures("specs_as_written")

LOOK = {"model": "demo", "prompts": [{"prompt": "a ?"}]}
STEER = {"model": "demo", "trait": "refusal"}


@pytest.fixture
def base(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> dict[str, str]:
    """An extraction on another model, one of its vectors, and that model's name."""
    version = ada.get("/v1/traits/refusal").json()["version"]
    api.add_model("base", facts={**FACTS, "weight_hash": "c" * 64})
    extraction, job = store_extraction(sessions, api.context.storage, "ada", version, model="base", weight_hash="c" * 64)
    vectors = ada.get("/v1/vectors", params={"extraction": extraction}).json()["items"]
    vector = next(one["id"] for one in vectors if not is_control(one["method"]))
    return {"extraction": extraction, "job": job, "vector": vector}


def requests(base: dict[str, str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Every request that can name such vectors: its path, the pointer to them, its body."""
    return [
        ("/v1/steerings", "/vectors/0", STEER | {"vectors": [base["vector"]]}),
        ("/v1/steerings", "/extraction", STEER | {"extraction": base["extraction"]}),
        ("/v1/generations", "/vectors/0", LOOK | {"vectors": [base["vector"]]}),
    ]


@pytest.mark.parametrize("way", range(3))
def test_a_siblings_vectors_are_taken_when_the_request_says_so(ada: httpx2.Client, base: dict[str, str], way: int) -> None:
    path, pointer, body = requests(base)[way]
    refused = problem(ada.post(path, json=body), 422)["errors"][0]
    assert (refused["code"], refused["pointer"]) == ("vector_of_another_model", pointer)
    assert "set /sibling" in refused["detail"]
    planned = ada.post(path, params={"dry_run": "true"}, json=body | {"sibling": True})
    assert planned.status_code == 200, planned.text
    made = ada.post(path, json=body | {"sibling": True})
    assert made.status_code == 202, made.text
    spec = made.json()["spec"]
    said = {"source_model": "base", "source_weight_hash": "c" * 64}
    if pointer == "/extraction":
        assert [one["source"] for one in spec["from"]] == [said]
    else:
        assert [(one["source"], one["facts"]["massive"]) for one in spec["vectors"]] == [(said, MASSIVE)]
    assert spec.get("extraction") is None  # the judge is fitted on answers of the steered model


@pytest.mark.parametrize("change", [{"layers": 13}, {"widths": {**FACTS["widths"], "residual": 128}}])
def test_a_model_of_another_shape_is_no_sibling(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], base: dict[str, str], change: dict[str, Any]
) -> None:
    with sessions.begin() as session:
        other = session.get_one(Model, "base")
        other.facts = {**other.facts, **change}
    for path, pointer, body in requests(base):
        refused = problem(ada.post(path, json=body | {"sibling": True}), 422)["errors"][0]
        assert (refused["code"], refused["pointer"]) == ("not_a_sibling", pointer)
        assert f"its {next(iter(change))} are" in refused["detail"]


def test_vectors_of_earlier_weights_of_the_sibling_are_refused(
    ada: httpx2.Client, sessions: sessionmaker[Session], base: dict[str, str]
) -> None:
    with sessions.begin() as session:
        other = session.get_one(Model, "base")
        other.facts = {**other.facts, "weight_hash": "d" * 64}
    for path, pointer, body in requests(base):
        refused = problem(ada.post(path, json=body | {"sibling": True}), 422)["errors"][0]
        assert (refused["code"], refused["pointer"]) == ("vector_of_other_weights", pointer)
