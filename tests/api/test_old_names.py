"""Renamed fields and parameters: the old name is accepted, marked as deprecated and sent beside the new one; files keep the old keys."""

import json
from typing import Any

import httpx2
import numpy as np
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.http.renamed import with_new_names
from app.jobs.measures import NAMES, with_names
from tests.api.conftest import Running, submit
from tests.api.describing import DOCUMENT, described
from tests.api.extracted import store_extraction
from tests.api.finishing import finish_everything
from tests.api.test_bad_input import problem
from tests.api.test_vector_import import npy

pytestmark = pytest.mark.usefixtures("specs_as_written")

EXTRACTION = {"model": "demo", "trait": "refusal", "methods": ["probe"]}


def extract(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    return client.post("/v1/extractions", json=EXTRACTION | fields)


def test_either_name_of_a_field_makes_the_same_job_and_the_old_one_is_deprecated(ada: httpx2.Client) -> None:
    new, old, both = extract(ada, control_vectors=1), extract(ada, controls=1), extract(ada, controls=1, control_vectors=1)
    assert [one.status_code for one in (new, old, both)] == [202] * 3, old.text
    assert new.json()["spec"] == old.json()["spec"] == both.json()["spec"]
    assert new.json()["spec"]["controls"] == ["random", "shuffled__of-probe"]
    assert "Deprecation" not in new.headers
    assert old.headers["Deprecation"] == both.headers["Deprecation"] == "@1795737600"  # 2026-11-27, RFC 9745


def test_two_names_that_differ_are_refused_and_both_are_named(ada: httpx2.Client) -> None:
    found = problem(extract(ada, controls=1, control_vectors=2), 422)
    assert found["errors"][0]["code"] == "both_names"
    assert "/control_vectors" in found["detail"]
    assert "/controls" in found["detail"]


def test_a_fault_is_told_under_the_name_that_was_used(ada: httpx2.Client, api: Running) -> None:
    for name in ("controls", "control_vectors"):
        refused = extract(ada, **{name: -1})
        assert problem(refused, 422)["errors"][0]["pointer"] == f"/{name}"
        assert ("Deprecation" in refused.headers) is (name == "controls")
    for name in ("layers", "vector_layers"):
        refused = ada.post("/v1/vectors", data={"model": "demo", name: "8"}, files={"file": ("v.npy", npy(np.ones(64)))})
        error = problem(refused, 422)["errors"][0]
        assert (error["code"], error["pointer"]) == ("layer_out_of_range", f"/{name}")


def test_a_request_that_the_service_makes_itself_is_not_deprecated(ada: httpx2.Client) -> None:
    """A steering makes the extraction that it needs; a study makes all of its jobs."""
    steering = ada.post("/v1/steerings", json={"model": "demo", "trait": "refusal", "methods": ["probe"], "layers": [2]})
    study = ada.post("/v1/studies", json={"models": ["demo"], "traits": ["refusal"], "methods": ["probe"], "layers": [2]})
    for made in (steering, study):
        assert made.status_code == 202, made.text
        assert "Deprecation" not in made.headers


def test_either_name_of_a_query_parameter_filters_alike(admin: httpx2.Client) -> None:
    admin.post("/v1/users", json={"name": "eve"})
    [entry, *_] = admin.get("/v1/audit", params={"action": "user.create"}).json()["items"]
    new, old = (admin.get("/v1/audit", params={name: entry["key_id"]}) for name in ("key_id", "key"))
    assert new.json()["items"] == old.json()["items"] != []
    assert admin.get("/v1/audit", params={"key_id": "Zz"}).json()["items"] == []
    assert ("Deprecation" in new.headers, "Deprecation" in old.headers) == (False, True)
    found = problem(admin.get("/v1/audit", params={"key_id": "a", "key": "b"}), 422)
    assert {error["parameter"] for error in found["errors"]} == {"query.key_id", "query.key"}
    assert "key_id and key" in found["detail"]


def test_a_job_is_told_under_both_names(ada: httpx2.Client) -> None:
    submit(ada)
    job = ada.post("/v1/generations", json={"model": "demo", "prompts": ["a ?"]}).json()
    assert (job["queue"], job["lane"]) == ("generation", "short")
    assert job["queue_position"] == job["position"] == 1
    status = ada.get("/v1/status").json()
    assert {(one["queue"], one["lane"]) for one in status["queues"]} == {("generation", "short"), ("model", "model")}
    assert [(one["queue_position"], one["position"], one["queue"]) for one in status["waiting"]] == [
        (1, 1, "generation"), (2, 2, "model"),
    ]  # fmt: skip
    planned = ada.post("/v1/calibrations?dry_run=true", json={"model": "demo", "after": [{"job": job["id"]}]}).json()
    assert planned["waiting_for"] == planned["waits_for"] == [job["id"]]


def test_a_steering_is_told_under_both_names_and_its_files_keep_their_keys(
    ada: httpx2.Client, api: Running, sessions: sessionmaker[Session]
) -> None:
    store_extraction(sessions, api.context.storage, "ada", ada.get("/v1/traits/refusal").json()["version"])
    made = ada.post("/v1/steerings", json={"model": "demo", "trait": "refusal", "methods": ["probe"], "layers": [2]}).json()
    finish_everything(sessions, api.context.storage)
    own = f"/v1/steerings/{made['id']}"
    for summary in (ada.get(own).json()["summary"], ada.get(f"/v1/jobs/{made['id']}").json()["result"]["steering"]["summary"]):
        assert summary["methods"]["probe"] == {"delta": 30.5, "gain": 30.5}
    [run, _] = ada.get(f"{own}/runs").json()["items"]
    assert (run["r"], run["dose"], run["vector"]) == (0.5, 0.5, {"method": "probe", "layer": 2})
    assert "dose" not in json.loads(ada.get(f"{own}/runs.jsonl").text.splitlines()[0])
    assert b"gain" not in ada.get(f"{own}/summary.json").content


def test_new_names_are_added_to_fields_and_not_to_a_trait_with_an_old_name() -> None:
    effect = {"r": 0.5, "c": [1.0, 2.0], "delta": None, "delta_joint_low": -3.0}
    found = with_names({"off_target": {"c": {"delta": 1.0}}, "curve": [effect], "text": "r"})
    assert found["off_target"] == {"c": {"delta": 1.0, "gain": 1.0}}  # a trait with the name c
    added = {"dose": 0.5, "coefficient": [1.0, 2.0], "gain": None, "joint_gain_low": -3.0}
    assert found["curve"] == [effect | added]
    assert found["text"] == "r"
    assert with_new_names({"r": 1, "dose": 2}, NAMES) == {"r": 1, "dose": 2}


def test_the_description_marks_every_old_name_and_gives_the_new_one() -> None:
    old = {
        (where, name): field
        for where, schema in described()
        for name, field in schema.get("properties", {}).items()
        if field.get("deprecated")
    }
    assert len(old) > 10
    for (where, name), field in old.items():
        schema = dict(described())[where]
        new = field["description"].split("`")[1]
        assert new in schema["properties"], (where, name)
        assert not schema["properties"][new].get("deprecated")
    parameters = {
        one["name"]: one.get("deprecated", False)
        for told in DOCUMENT["paths"]["/v1/audit"].values()
        for one in told["parameters"]
    }
    assert (parameters["key"], parameters["key_id"]) == (True, False)
