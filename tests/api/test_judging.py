"""A dry run of a steering counts the answers that prepare its judge, and warns if an equal judge could not tell the classes apart."""

from typing import Any

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.extractions.models import Extraction
from app.ids import new_id
from app.jobs.models import Job
from app.steerings.models import Steering
from tests.api.conftest import FACTS, Running
from tests.api.extracted import store_extraction

pytestmark = pytest.mark.usefixtures("specs_as_written")

GOOD = {"model": "demo", "trait": "refusal", "methods": ["probe"], "layers": [2], "max_new_tokens": 32}
UNSURE = {  # the interval of the accuracy contains 0.5
    "held_out_accuracy": 0.58, "tells_apart": False,
    "held_out": {"accuracy": 0.58, "low": 0.49, "high": 0.66, "n": 120, "clusters": 120},
}  # fmt: skip


@pytest.fixture
def extraction(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> tuple[str, str]:
    """The id of an extraction, and of its job."""
    version = ada.get("/v1/traits/refusal").json()["version"]
    return store_extraction(sessions, api.context.storage, "ada", version)


def dry(client: httpx2.Client, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/steerings", params={"dry_run": "true"}, json=GOOD | changes)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def change_extraction(sessions: sessionmaker[Session], job: str, **changes: Any) -> None:
    with sessions.begin() as session:
        row = session.get_one(Job, job)
        row.spec = row.spec | changes


def test_the_price_counts_the_unsteered_answers_that_the_judge_is_fitted_on(
    ada: httpx2.Client, sessions: sessionmaker[Session], extraction: tuple[str, str]
) -> None:
    """The judge is fitted on the extraction's responses if the model wrote them and they are as long as the steering's answers (32 tokens)."""
    made, job = extraction
    counts = ada.get("/v1/traits/refusal").json()["counts"]
    questions = min(200, counts["selection"]) + min(200, counts["test"]) + min(40, counts["unrelated"])
    short = dry(ada, extraction=made)
    assert short["judge_answers"] == counts["positive"] + counts["negative"] + questions
    assert short["generated_tokens"] == (short["answers"] + short["judge_answers"]) * 32
    assert f"preparing the judge: {counts['positive'] + counts['negative']:,} labelled prompts" in short["arithmetic"]
    change_extraction(sessions, job, max_new_tokens=32)
    assert dry(ada, extraction=made)["judge_answers"] == questions, "its responses are as long as the steering's answers"
    change_extraction(sessions, job, responses="given")
    given = dry(ada, extraction=made)
    assert given["judge_answers"] == short["judge_answers"]
    assert given["spec"]["responses_given"] is True
    assert "responses_given" not in short["spec"]


def test_a_judge_that_cannot_tell_the_classes_apart_is_reported_with_what_to_do(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], extraction: tuple[str, str]
) -> None:
    made, _ = extraction
    before = dry(ada, extraction=made)["warnings"]
    job = ada.post("/v1/steerings", json=GOOD | {"extraction": made}).json()["id"]
    with sessions.begin() as session:
        spec = session.get_one(Job, job).spec
        facts = {name: FACTS[name] for name in ("weight_hash", "reading_hash")}
        row = Steering(
            id=new_id("str"), job_id=job, owner="ada", model="demo", trait="refusal", trait_version=spec["trait"]["version"],
            judge="reference", summary={"judge": UNSURE}, **facts,
        )  # fmt: skip
        session.add(row)
        name = row.id
    [said] = [one for one in dry(ada, extraction=made)["warnings"] if one not in before]
    assert said.startswith("Not enough evidence: this judge cannot tell the classes apart. It classifies 58 % [49, 66]")
    assert name in said
    assert said.count("curl --header @FILE ADDRESS/v1/judges") == 2
    assert '"kind": "openai"' in said
    assert '"kind": "local"' in said
    submitted = ada.post("/v1/steerings", json=GOOD | {"extraction": made})
    assert said in submitted.json()["warnings"]
    for other in ({"max_new_tokens": 33}, {"judge": "refusal-phrases"}):
        assert said not in dry(ada, extraction=made, **other)["warnings"], other
    with sessions.begin() as session:
        session.get_one(Job, session.get_one(Extraction, made).job_id).visibility = "public"
    with api.client("bob") as bob:
        assert not [one for one in dry(bob, extraction=made)["warnings"] if "cannot tell" in one], (
            "that steering is not shown to bob"
        )
