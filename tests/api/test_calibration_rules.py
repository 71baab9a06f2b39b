"""Rules of massive dims over HTTP: `massive` is an alias of `peeling`, and results of an older rule are used only if a request names them."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.extractions.models import Vector
from app.jobs.models import Job
from app.jobs.specs import spec_hash
from tests.api.conftest import Running, submit
from tests.api.extracted import METHODS, store_extraction
from tests.api.lives import SUMMARY, claim, succeed

OLD = {key: value for key, value in SUMMARY.items() if key != "schema_version"} | {
    "massive_dims": {"rule": "massive", "dims": [21, 3]}
}
STEERING = {"model": "demo", "trait": "refusal", "judge": "reference", "methods": ["probe"], "doses": [0.5]}


def calibrated(api: Running, client: httpx2.Client, sessions: sessionmaker[Session], *, schema: int = 2, **body: Any) -> str:
    """Submits and finishes a calibration; returns its job. With schema 1, its rows are as the service of that time wrote them."""
    job: str = submit(client, **body)["id"]
    succeed(sessions, api.context.storage, claim(sessions), {"calibration": dict(SUMMARY if schema == 2 else OLD)})
    if schema == 1:
        with sessions.begin() as session:
            row = session.get_one(Job, job)
            rule = row.spec["rule"].replace("peeling", "massive")
            row.spec = {key: value for key, value in row.spec.items() if key != "schema_version"} | {"rule": rule}
            row.spec_hash = spec_hash("calibrate", row.spec)
    return job


def generate(client: httpx2.Client, **body: Any) -> dict[str, Any]:
    """Submits a generation, which measures its doses by a calibration; returns its job."""
    with_vector = {"model": "demo", "prompts": [{"prompt": "a ?"}], "doses": [0.5], **body}
    answer = client.post("/v1/generations", json=with_vector)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def a_vector(client: httpx2.Client) -> str:
    return str(client.get("/v1/vectors").json()["items"][0]["id"])


def test_massive_is_an_alias_of_the_default_rule_and_a_spec_stores_its_name(ada: httpx2.Client) -> None:
    assert submit(ada)["spec"] == submit(ada, rule="massive")["spec"] == submit(ada, rule="peeling")["spec"]
    assert submit(ada)["spec"]["rule"] == "peeling"
    assert submit(ada, rule="peel:0.25")["spec"]["rule"] == "peel:0.25"
    for wrong in ("peel:1", "peel:0", "peel:0.0", "peel:", "Peeling"):
        assert ada.post("/v1/calibrations", json={"model": "demo", "rule": wrong}).status_code == 422, wrong


def test_the_newest_calibration_is_never_one_of_an_older_rule(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    store_extraction(sessions, api.context.storage, "ada", "f" * 64)
    vector = a_vector(ada)
    old = calibrated(api, ada, sessions, schema=1)
    made = generate(ada, vectors=[vector])["spec"]["calibration"]["job"]
    assert made != old
    succeed(sessions, api.context.storage, claim(sessions), {"calibration": dict(SUMMARY)})
    assert generate(ada, vectors=[vector])["spec"]["calibration"]["job"] == made
    calibrated(api, ada, sessions, rule="ratio:10", schema=1)
    assert generate(ada, vectors=[vector])["spec"]["calibration"]["job"] == made
    assert generate(ada, vectors=[vector], calibration=old)["spec"]["calibration"]["job"] == old  # but whoever names it gets it


@pytest.mark.parametrize("rule", ["peeling", "all"])
def test_reuse_never_answers_with_a_file_of_an_older_schema(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], rule: str
) -> None:
    old = calibrated(api, ada, sessions, schema=1, rule=rule)
    answer = ada.post("/v1/calibrations?reuse=true", json={"model": "demo", "rule": rule})
    assert (answer.status_code, answer.json()["id"] == old) == (202, False)
    succeed(sessions, api.context.storage, claim(sessions), {"calibration": dict(SUMMARY)})
    again = ada.post("/v1/calibrations?reuse=true", json={"model": "demo", "rule": rule})
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])


def test_a_calibration_of_schema_1_names_the_rule_it_used(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    old, new = calibrated(api, ada, sessions, schema=1), calibrated(api, ada, sessions)
    assert ada.get(f"/v1/calibrations/{old}").json()["massive_dims"] == {"rule": "ratio10-3layers", "dims": [21, 3]}
    assert ada.get(f"/v1/calibrations/{new}").json()["massive_dims"]["rule"] == "peeling"


def test_the_newest_extraction_is_never_one_cleaned_by_an_older_rule(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    version = ada.get("/v1/traits/refusal").json()["version"]
    extraction, job = store_extraction(sessions, api.context.storage, "ada", version)

    def by(rule: dict[str, str]) -> None:
        with sessions.begin() as session:
            for row in session.scalars(select(Vector).where(Vector.extraction_id == extraction)):
                row.facts = {"massive": {**rule, "dims": [7], "share": 0.5}}

    by({})  # as an extraction of that time recorded it
    asked = {**STEERING, "methods": METHODS}
    assert ada.post("/v1/steerings?dry_run=true", json=asked).json()["makes_extraction"] is True
    assert ada.post("/v1/steerings?dry_run=true", json={**asked, "extraction": job}).status_code == 200
    by({"rule": "peeling"})
    assert ada.post("/v1/steerings?dry_run=true", json=asked).json()["makes_extraction"] is False


def test_vectors_and_cosines_say_by_which_rule_their_dims_are_massive(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    extraction, _ = store_extraction(sessions, api.context.storage, "ada", "f" * 64)
    vectors = ada.get(f"/v1/vectors?extraction={extraction}").json()["items"]
    assert {one["massive_rule"] for one in vectors} == {"peeling"}
    assert {one["massive_rule"] for one in ada.get(f"/v1/extractions/{extraction}").json()["vectors"]} == {"peeling"}
    assert ada.get(f"/v1/extractions/{extraction}/cosines").json()["massive_rule"] == "peeling"
