"""The texts of a steering scored again, by judges that are fitted on responses and by ones that are not."""

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.judges.models import Judge
from tests.api.conftest import FACTS, Running
from tests.api.extracted import store_extraction
from tests.api.finishing import finish_everything
from tests.api.lives import claim, inspect, prove, succeed
from tests.api.test_bad_input import problem

pytestmark = pytest.mark.usefixtures("specs_as_written")

STEERING = {"steering": {"weight_hash": "a" * 64, "judge": "any", "summary": {}}}


@pytest.fixture
def steering(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> dict[str, str]:
    """A finished steer job that read an extraction's responses, that extraction's job, and an endpoint judge `gpt`."""
    with sessions.begin() as session:
        session.add(Judge(name="gpt", kind="openai", model="m", url="http://127.0.0.1:9/v1", created_by="test"))
    _, read = store_extraction(sessions, api.context.storage, "ada", ada.get("/v1/traits/refusal").json()["version"])
    made = ada.post("/v1/steerings", json={"model": "demo", "trait": "refusal", "extraction": read, "methods": ["probe"]})
    assert made.status_code == 202, made.text
    succeed(sessions, api.context.storage, claim(sessions))
    succeed(sessions, api.context.storage, claim(sessions), STEERING)
    return {"job": made.json()["id"], "read": read}


def scored(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], job: str, judge: str) -> tuple[str, str | None]:
    """Rescores the job by this judge; returns the new job, and the job of the responses that the judge reads."""
    made = ada.post(f"/v1/steerings/{job}/rescore", json={"judge": judge})
    assert made.status_code == 202, made.text
    succeed(sessions, api.context.storage, claim(sessions, "light" if judge == "gpt" else "model"), STEERING)
    return made.json()["id"], made.json()["spec"]["extraction"]


def test_a_fitted_judge_reads_the_steerings_responses_also_after_a_judge_that_read_none(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], steering: dict[str, str]
) -> None:
    first, read = scored(api, ada, sessions, steering["job"], "gpt")
    assert read is None
    second, _ = scored(api, ada, sessions, first, "gpt")
    for job in (steering["job"], first, second):
        assert scored(api, ada, sessions, job, "reference")[1] == steering["read"]


def test_responses_that_cannot_be_found_any_more_are_not_replaced_by_others(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], steering: dict[str, str]
) -> None:
    first, _ = scored(api, ada, sessions, steering["job"], "gpt")
    assert ada.delete(f"/v1/jobs/{steering['job']}").status_code == 200
    error = problem(ada.post(f"/v1/steerings/{first}/rescore", json={"judge": "reference"}), 422)["errors"][0]
    assert (error["code"], error["pointer"]) == ("responses_not_known", "/judge")
    assert steering["job"] in error["detail"]
    assert scored(api, ada, sessions, first, "gpt")[1] is None


def test_texts_of_a_steering_submitted_before_its_model_was_ready_are_scored_again_under_its_weights(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Such a steering's spec names no weights, only its result does. The rescore failed when its result was stored, after all scoring."""
    assert admin.post("/v1/models", json={"name": "fresh", "source": "/models/fresh"}).status_code == 202
    made = ada.post("/v1/steerings", json={"model": "fresh", "trait": "refusal", "methods": ["probe"], "layers": [1]})
    assert made.json()["spec"]["weight_hash"] is None, made.text
    inspect(sessions, FACTS)
    prove(sessions)
    finish_everything(sessions, api.context.storage)
    again = ada.post(f"/v1/steerings/{made.json()['id']}/rescore", json={"judge": "refusal-phrases"})
    spec = again.json()["spec"]
    steering = ada.get(f"/v1/steerings/{made.json()['id']}").json()
    assert (spec["weight_hash"], spec["reading_hash"]) == (steering["weight_hash"], steering["reading_hash"])
    hashes = {name: spec[name] for name in ("weight_hash", "reading_hash")}  # as workers.handlers.rescore returns them
    succeed(sessions, api.context.storage, claim(sessions), {"steering": {**STEERING["steering"], **hashes}})
    assert ada.get(f"/v1/steerings/{again.json()['id']}").json()["weight_hash"] == steering["weight_hash"]
