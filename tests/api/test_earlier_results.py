"""Which earlier calibration or extraction a request uses that names none, and what is refused at once that would fail only in the job."""

import json
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.extractions.models import Extraction
from app.jobs.models import Job
from app.webhooks.models import WebhookDelivery
from tests.api.conftest import Running
from tests.api.extracted import store_extraction
from tests.api.lives import claim, succeed
from tests.api.test_bad_input import problem
from tests.api.test_vector_import import direction, send

CLEANED = {"model": "demo", "trait": "refusal", "methods": ["mean_diff_cleaned"]}
STEERING = {"model": "demo", "trait": "refusal", "judge": "reference", "methods": ["probe"], "doses": [0.5]}
TRIAL = {"model": "demo", "prompts": ["x"], "max_new_tokens": 1}


def calibrated(api: Running, client: httpx2.Client, sessions: sessionmaker[Session], **body: Any) -> str:
    """The job of a finished calibration."""
    job = str(client.post("/v1/calibrations", json=body).json()["id"])
    succeed(sessions, api.context.storage, claim(sessions))
    return job


def chosen(client: httpx2.Client) -> str:
    """The job of the calibration that a new extraction of the client uses."""
    job = client.post("/v1/extractions", json=CLEANED).json()
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 202  # so that the next claim is of a calibration
    return str(job["spec"]["calibration"]["job"])


def test_a_short_calibration_of_another_user_is_never_chosen(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    full = calibrated(api, ada, sessions, model="demo")
    with api.client("eve") as eve:
        trial = calibrated(api, eve, sessions, **TRIAL, visibility="public")
        assert chosen(eve) == trial  # her own serves her
        assert chosen(ada) == full
        other = calibrated(api, eve, sessions, model="demo", visibility="public")
        assert chosen(ada) == other
        calibrated(api, eve, sessions, model="demo", special_tokens="text", visibility="public")
        assert chosen(ada) == chosen(eve) == other


@pytest.fixture
def extraction(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> str:
    """The job of a public extraction of ada."""
    version = ada.get("/v1/traits/refusal").json()["version"]
    job = store_extraction(sessions, api.context.storage, "ada", version)[1]
    with sessions.begin() as session:
        session.get_one(Job, job).visibility = "public"
    return job


def taken(client: httpx2.Client, job: str, **changes: Any) -> bool:
    """Whether a new steering of the client uses the extraction of this job."""
    answer = client.post("/v1/steerings", json={**STEERING, **changes})
    assert answer.status_code == 202, answer.text
    return bool(answer.json()["spec"]["from"][0]["job"] == job)


def test_an_extraction_serves_a_steering_that_would_make_the_same(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], extraction: str
) -> None:
    assert taken(ada, extraction)
    assert taken(ada, extraction, positions=["response[ :5]"])
    assert not taken(ada, extraction, special_tokens="text")
    with api.client("eve") as eve:
        assert taken(eve, extraction)
        with sessions.begin() as session:
            row = session.get_one(Job, extraction)
            row.spec = {**row.spec, "responses": "given"}
        assert not taken(eve, extraction)
    assert taken(ada, extraction)


def test_an_older_extraction_with_the_positions_serves(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], extraction: str
) -> None:
    version = ada.get("/v1/traits/refusal").json()["version"]
    newer, _ = store_extraction(sessions, api.context.storage, "ada", version)
    with sessions.begin() as session:
        session.get_one(Extraction, newer).positions = ["prompt[-1]"]
    assert taken(ada, extraction, positions=["response[:5]"])


def test_reuse_submits_one_calibration(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    assert ada.post("/v1/extractions?reuse=true", json=CLEANED).status_code == 202
    with sessions() as session:
        assert session.scalar(select(func.count()).where(Job.kind == "calibrate")) == 1


def test_a_reused_extraction_is_announced_and_its_sharing_checked(
    ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    assert admin.post("/v1/webhooks", json={"url": "https://93.184.216.34/x", "name": "hook"}).status_code == 201
    body = {**CLEANED, "methods": ["mean_diff"]}
    job = ada.post("/v1/extractions", json=body).json()
    with sessions.begin() as session:
        row = session.get_one(Job, job["id"])
        row.state, row.finished_at = "succeeded", func.now()
        row.result = {"extraction": {"id": "ext_" + "0" * 26, "reading_hash": job["spec"]["reading_hash"]}}
    answer = ada.post("/v1/extractions?reuse=true", json={**body, "webhook": "hook"})
    assert (answer.status_code, answer.json()["id"]) == (200, job["id"])
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(WebhookDelivery)) == 1
    for changes in ({"webhook": "another"}, {"visibility": "group", "group": "strangers"}):
        assert ada.post("/v1/extractions?reuse=true", json={**body, **changes}).status_code == 422


@pytest.mark.parametrize("route", ["extractions", "studies"])
def test_a_number_too_large_for_a_float_is_refused_as_a_parameter(ada: httpx2.Client, route: str) -> None:
    named = {"model": "demo", "trait": "refusal"} if route == "extractions" else {"models": ["demo"], "traits": ["refusal"]}
    answer = ada.post(f"/v1/{route}", json={**named, "methods": [{"method": "gradient", "steps": 10**400}]})
    assert "steps must be a finite number." in problem(answer, 422)["detail"]


def test_dims_beyond_those_that_a_calibration_ranks_are_refused(ada: httpx2.Client) -> None:
    for name in ("mean_diff_top65", "probe_pretop65", "mean_diff_randomdims65"):
        assert (
            f"{name} needs the 65 dims"
            in problem(ada.post("/v1/extractions", json={**CLEANED, "methods": [name]}), 422)["detail"]
        )
    fine = {**CLEANED, "methods": ["mean_diff_top64", "mean_diff_randomdims64", "mean_diff_largest65"]}
    assert ada.post("/v1/extractions", json=fine).status_code == 202


def test_a_window_that_begins_late_gets_tokens(ada: httpx2.Client) -> None:
    spec = ada.post("/v1/extractions", json={**CLEANED, "positions": ["response[100:]"]}).json()["spec"]
    assert spec["max_new_tokens"] == 101


@pytest.mark.parametrize("name", ["a\ud800b", "a\x00b", "n" * 3_000])
def test_a_tensor_name_that_cannot_be_shown_is_refused_in_a_sentence(ada: httpx2.Client, name: str) -> None:
    header = json.dumps({name: {"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}}).encode()
    data = len(header).to_bytes(8, "little") + header + direction(1).tobytes()
    for layers in ({}, {"vector_layers": "3"}):
        answer = send(ada, data, **layers)
        assert "a name must have at most 300 characters" in problem(answer, 422)["detail"]
        assert len(answer.content) < 1000
