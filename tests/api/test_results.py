"""What a finished calibration leaves to read and download."""

import hashlib

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from tests.api.conftest import Running, submit
from tests.api.lives import FILE, SUMMARY, claim, succeed


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


def test_the_file_comes_whole_in_part_or_not_at_all(ada: httpx2.Client, finished: httpx2.Response) -> None:
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


def test_what_the_job_did_not_make_is_not_found(ada: httpx2.Client, finished: httpx2.Response) -> None:
    job = finished.json()["id"]
    assert ada.get(f"/v1/jobs/{job}/artifacts/other.json").status_code == 404
    assert ada.get(f"/v1/jobs/{job}/artifacts/..%2Fcalibration.json").status_code == 404
    assert ada.get(f"/v1/calibrations/{submit(ada)['id']}").status_code == 404
