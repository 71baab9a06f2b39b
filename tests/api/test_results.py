"""Results and files of finished jobs, and what their addresses answer before and without a result."""

import hashlib

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from tests.api.conftest import Running, submit
from tests.api.lives import FILE, SUMMARY, claim, fail, succeed


@pytest.fixture
def finished(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> httpx2.Response:
    """A succeeded calibration's job."""
    path = submit(ada)["links"]["self"]
    succeed(sessions, api.context.storage, claim(sessions))
    return ada.get(path)


def test_a_finished_job_shows_result_file_and_links(ada: httpx2.Client, finished: httpx2.Response) -> None:
    job = finished.json()
    identifier = job["result"]["calibration"]["id"]
    assert job["result"]["calibration"] == {"id": identifier, **SUMMARY}
    assert job["metrics"]["device_seconds"] == 2.0
    [file] = job["artifacts"]
    assert (file["name"], file["size"], file["sha256"]) == ("calibration.json", len(FILE), hashlib.sha256(FILE).hexdigest())
    for path in (file["href"], job["links"]["calibration.json"], f"/v1/calibrations/{job['id']}/calibration.json"):
        assert ada.get(path).content == FILE
    assert job["links"]["result"] == f"/v1/calibrations/{identifier}"


def test_a_calibration_says_what_it_found_and_of_which_weights(ada: httpx2.Client, finished: httpx2.Response) -> None:
    found = ada.get(finished.json()["links"]["result"]).json()
    assert (found["model"], found["job"], found["stale"]) == ("demo", finished.json()["id"], False)
    assert (found["severity"], found["weight_hash"]) == (SUMMARY["severity"], SUMMARY["weight_hash"])
    assert ada.get("/v1/calibrations", params={"model": "demo"}).json()["items"] == [found]
    assert ada.get("/v1/calibrations", params={"model": "other"}).json()["items"] == []


def test_a_calibration_is_stale_once_its_models_weights_have_changed(
    ada: httpx2.Client, finished: httpx2.Response, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE models SET facts = jsonb_set(facts, '{weight_hash}', '\"bbbb\"')"))
    assert ada.get(finished.json()["links"]["result"]).json()["stale"] is True


def test_a_file_is_sent_whole_by_range_or_not_modified(ada: httpx2.Client, finished: httpx2.Response) -> None:
    path = finished.json()["links"]["calibration.json"]
    whole = ada.get(path)
    tag = whole.headers["ETag"]
    assert tag == f'"sha256-{hashlib.sha256(FILE).hexdigest()}"'
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert "attachment" in whole.headers["Content-Disposition"]
    part = ada.get(path, headers={"Range": "bytes=2-11"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, FILE[2:12], f"bytes 2-11/{len(FILE)}")
    assert ada.get(path, headers={"If-None-Match": tag}).status_code == 304
    beyond = ada.get(path, headers={"Range": "bytes=1000-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{len(FILE)}"


def test_a_file_that_the_job_did_not_make_is_not_found(ada: httpx2.Client, finished: httpx2.Response) -> None:
    job = finished.json()["id"]
    assert ada.get(f"/v1/jobs/{job}/artifacts/other.json").status_code == 404
    assert ada.get(f"/v1/jobs/{job}/artifacts/..%2Fcalibration.json").status_code == 404


PLACES = {
    "calibrate/demo": ("calibrations/{}", "calibrations/{}/calibration.json"),
    "extract/demo/refusal": ("extractions/{}", "extractions/{}/cosines", "extractions/{}/vectors.safetensors"),
    "steer/demo/refusal": ("steerings/{}", "steerings/{}/runs", "steerings/{}/responses", "steerings/{}/results.jsonl"),
    "report": ("studies/{}/report.html",),
}
"""By node of a study: where its result and the files of it are, by the id of the node's job."""


def test_a_result_that_is_not_there_yet_or_never_will_be_says_so_to_those_who_may_see_its_job(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    study = ada.post("/v1/studies", json={"models": ["demo"], "traits": ["refusal"], "layers": [2], "methods": ["probe"]}).json()
    nodes = ada.get(f"/v1/studies/{study['id']}").json()["nodes"]
    jobs = {name: node["job"] for name, node in nodes.items()} | {"report": study["id"]}
    addresses = [(f"/v1/{place.format(jobs[node])}", jobs[node]) for node, places in PLACES.items() for place in places]
    with api.client("bob") as bob:
        for address, job in addresses:
            early = ada.get(address)
            assert (early.status_code, early.json()["code"]) == (409, "job_not_finished"), address
            assert f"{job} is queued" in early.json()["detail"]
            assert bob.get(address).status_code == 404
    fail(sessions, claim(sessions))
    for address, job in addresses[:-1]:
        never = ada.get(address)
        assert (never.status_code, never.json()["code"]) == (409, "job_without_result"), address
        assert f"{job} is failed and has no" in never.json()["detail"]
        assert f"POST /v1/jobs/{job}/retry" in never.json()["detail"]
    assert "It broke. Mend it." in ada.get(addresses[0][0]).json()["detail"]
    wrong_shelf = ada.get(f"/v1/extractions/{jobs['calibrate/demo']}")
    assert (wrong_shelf.status_code, wrong_shelf.json()["code"]) == (404, "not_found")
