"""Estimated seconds: a fixed part plus a part per size, fitted to earlier jobs; unknown if they are too few or too small."""

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.jobs.estimates import Known, seconds_for
from app.jobs.models import Job
from app.models.models import Model
from app.pages.forms.prices import Cost, price
from tests.api.conftest import Running, submit
from tests.api.lives import SUMMARY, claim, succeed


@pytest.mark.parametrize(
    ("known", "size", "expected"),  # `known`: size and seconds of earlier jobs
    [
        ([], 100, None),
        ([(100, 50.0)], 100, 50.0),
        ([(100, 50.0)], 300, 150.0),
        ([(100, 50.0)], 500, None),
        ([(144, 137.0)], 6400, None),  # six prompts in two minutes, most of it loading: 6,089 s would be nonsense
        ([(144, 30.0), (6400, 155.0)], 6400, 155.0),
        ([(100, 40.0), (1000, 130.0)], 2000, 230.0),
        ([(100, 40.0), (1000, 130.0)], 1, 30.1),
        ([(100, 40.0), (1000, 130.0)], 20_000, None),
        ([(100, 100.0), (1000, 50.0)], 500, 75.0),  # noise alone: the mean
        ([(100, 0.0), (200, 20.0)], 200, 16.0),  # no part is negative
        ([(0, 9.0)], 5, None),
    ],
)
def test_a_line_through_earlier_jobs_or_unknown(known: Known, size: float, expected: float | None) -> None:
    assert seconds_for(known, size) == expected


def test_a_tiny_job_is_no_measure_of_a_large_one(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    job = submit(ada, prompts=["a"] * 6, max_new_tokens=24)["id"]
    succeed(sessions, api.context.storage, claim(sessions), {"calibration": {**SUMMARY, "n_prompts": 6}})
    with sessions.begin() as session:
        session.get_one(Job, job).device_seconds = 137.0
    large, alike = ({"model": "demo"}, {"model": "demo", "prompts": ["b"] * 6, "max_new_tokens": 24})
    assert ada.post("/v1/calibrations?dry_run=true", json=large).json()["estimated_seconds"] is None
    assert ada.post("/v1/calibrations?dry_run=true", json=alike).json()["estimated_seconds"] == 137.0


@pytest.mark.parametrize("runs_on", ["slots", "library", "whole"])
@pytest.mark.parametrize(
    ("route", "body"),
    [("calibrations", {}), ("generations", {"prompts": ["Hello"], "vectors": []})],
)
def test_a_price_says_when_the_model_is_generated_on_a_slower_engine(
    ada: httpx2.Client, sessions: sessionmaker[Session], runs_on: str, route: str, body: dict[str, object]
) -> None:
    """The same answers take longer on a hybrid than on a model of its size with keys and values alone."""
    with sessions.begin() as session:
        model = session.get_one(Model, "demo")
        model.facts = {**model.facts, "structure": {"engine": runs_on}}
    cost = ada.post(f"/v1/{route}?dry_run=true", json={"model": "demo", **body}).json()
    assert (cost["engine"]["name"], cost["engine"]["slower"]) == (runs_on, runs_on != "slots")
    assert ("slower" in cost["engine"]["sentence"]) == (runs_on != "slots")
    assert (cost["engine"]["sentence"] in price(Cost.model_validate(cost)).lines) == (runs_on != "slots")
    for seconds, said in ((None, "on the faster engine would be too short"), (60.0, "this includes the slower engine")):
        lines = price(Cost.model_validate({**cost, "estimated_seconds": seconds})).lines
        assert any(said in line for line in lines) == (runs_on != "slots")
