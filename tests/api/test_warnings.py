"""Warnings about what a result will lack come before its job runs: at upload, on the trait, in the dry run, on the job, on the command line."""

import json
from typing import Any

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.models.models import Model
from shipped import CHAT_TRAIT_NAMES, DEMO_TOKENIZER, MODEL_NAMES, TRAIT_NAMES, model_folder
from tests.api.conftest import Running
from tests.api.extracted import store_extraction
from tests.api.lives import claim, fail
from tests.client.test_cli import Cli, binnacle, environment
from workers.lm.folder import content_hash, tokenizer_files

__all__ = ["binnacle", "environment"]

FEW = "5 test clusters; a verdict needs 20: add 15 test questions, each in a new cluster"


def small(name: str, test: int) -> dict[str, Any]:
    """A trait with so many test questions, each a cluster of its own, and two selection questions."""
    questions = [{"question": f"q{i}", "cluster": f"c{i}", "split": "test" if i < test else "selection"} for i in range(test + 2)]
    return {"name": name, "positive": ["a b", "c d"], "negative": ["e f", "g h"], "steering": {"questions": questions}}


def as_demo_model(sessions: sessionmaker[Session]) -> None:
    """Gives the model `demo` the tokenizer by which a shipped demo model is recognised."""
    with sessions.begin() as session:
        model = session.get_one(Model, "demo")
        model.facts = {**model.facts, "tokenizer_hash": DEMO_TOKENIZER}


def test_the_shipped_models_have_the_tokenizer_that_marks_them() -> None:
    folders = map(model_folder, MODEL_NAMES)
    assert {content_hash(tokenizer_files(folder), within=folder) for folder in folders} == {DEMO_TOKENIZER}


def test_a_trait_says_how_many_test_clusters_it_lacks(ada: httpx2.Client) -> None:
    made = ada.post("/v1/traits", json=small("few", 5)).json()
    assert len(made["warnings"]) == 1
    assert FEW in made["warnings"][0]
    assert ada.get("/v1/traits/few").json()["warnings"] == made["warnings"]
    assert ada.post("/v1/traits", json=small("enough", 20)).json()["warnings"] == []
    nearly = FEW.replace("5", "19", 1).replace("15 test questions", "1 test question")
    assert nearly in ada.post("/v1/traits", json=small("nearly", 19)).json()["warnings"][0]


def test_a_trait_without_a_selection_question_says_that_it_cannot_be_steered(ada: httpx2.Client) -> None:
    """Two near-duplicate questions are one cluster, which the split gives to the test."""
    trait = small("two", 0) | {"steering": {"questions": ["how do i calm a dog ?", "how do i calm a cat ?"]}}
    made = ada.post("/v1/traits", json=trait).json()
    assert made["counts"]["selection"] == 0
    assert "two: no selection question" in made["warnings"][1]
    assert "steering is refused" in made["warnings"][1]


def test_only_the_toy_traits_are_made_for_demo_models(ada: httpx2.Client) -> None:
    for names, said in ((TRAIT_NAMES, "demo models"), (CHAT_TRAIT_NAMES, None)):
        for name in names:
            trait = ada.get(f"/v1/traits/{name}").json()
            assert (trait["made_for"], trait["warnings"]) == (said, []), name
    wrong = ada.post("/v1/traits", json={**small("toy", 5), "made_for": "other models"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["pointer"] == "/made_for"


@pytest.mark.parametrize("demo", [True, False])
def test_a_toy_trait_on_a_real_model_and_a_real_trait_on_a_demo_model_warn(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], demo: bool
) -> None:
    if demo:
        as_demo_model(sessions)
    fitting, other = ("refusal", "chat-refusal") if demo else ("chat-refusal", "refusal")
    said = "is a demo model and knows only its toy language" if demo else "refusal is made for the demo models"
    for trait, warned in ((fitting, False), (other, True)):
        version = ada.get(f"/v1/traits/{trait}").json()["version"]
        extraction, _ = store_extraction(sessions, api.context.storage, "ada", version)
        bodies = {
            "/v1/extractions": {"model": "demo", "trait": trait, "methods": ["mean_diff"]},
            "/v1/steerings": {"model": "demo", "trait": trait, "extraction": extraction},
            "/v1/studies": {"models": ["demo"], "traits": [trait], "methods": ["mean_diff"], "layers": [2]},
        }
        for path, body in bodies.items():
            dry = ada.post(path, params={"dry_run": "true"}, json=body)
            assert dry.status_code == 200, dry.text
            assert any(said in one for one in dry.json()["warnings"]) == warned, (path, dry.json()["warnings"])
            job = ada.post(path, json=body)
            assert job.status_code == 202, job.text
            assert job.json()["warnings"] == dry.json()["warnings"]
            again = ada.get(job.headers["Location"]).json()
            assert again["warnings"] == dry.json()["warnings"]
            events = ada.get(f"{job.headers['Location']}/events").json()["items"]
            assert [one["data"]["detail"] for one in events if one["type"] == "warned"] == dry.json()["warnings"]


def test_a_steering_counts_the_clusters_that_it_will_ask(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    trait = ada.post("/v1/traits", json=small("few", 5)).json()
    extraction, _ = store_extraction(sessions, api.context.storage, "ada", trait["version"])
    body = {"model": "demo", "trait": "few", "extraction": extraction}

    def warnings(**more: Any) -> list[str]:
        dry = ada.post("/v1/steerings", params={"dry_run": "true"}, json=body | more)
        assert dry.status_code == 200, dry.text
        return list(dry.json()["warnings"])

    assert [FEW in one for one in warnings()] == [True]
    asked = [{"question": f"t{i}", "cluster": f"t{i // 2}"} for i in range(40)]
    assert warnings(questions={"selection": [{"question": "s"}], "test": asked}) == []
    assert "/questions/test: 19 test clusters" in warnings(questions={"selection": [{"question": "s"}], "test": asked[:38]})[0]
    assert "/test_limit is 19" in warnings(questions={"selection": [{"question": "s"}], "test": asked}, test_limit=19)[0]


def test_a_steering_judged_by_fixed_phrases_warns_what_they_are(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    for trait, said in (
        ("refusal", "Confirm its verdicts with another judge"),
        ("sycophancy", "its scores would mean nothing"),
    ):
        version = ada.get(f"/v1/traits/{trait}").json()["version"]
        extraction, _ = store_extraction(sessions, api.context.storage, "ada", version)
        body = {"model": "demo", "trait": trait, "extraction": extraction, "judge": "refusal-phrases"}
        dry = ada.post("/v1/steerings", params={"dry_run": "true"}, json=body)
        assert dry.status_code == 200, dry.text
        assert any("fixed list of phrases" in one and said in one for one in dry.json()["warnings"])


def test_a_retry_keeps_the_warnings(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    job = ada.post("/v1/extractions", json={"model": "demo", "trait": "refusal", "methods": ["mean_diff"]}).json()
    assert len(job["warnings"]) == 1
    fail(sessions, claim(sessions))
    retried = ada.post(f"/v1/jobs/{job['id']}/retry").json()
    assert (retried["retry_of"], retried["warnings"]) == (job["id"], job["warnings"])


def test_the_command_line_says_the_warnings(binnacle: Cli, tmp_path: Any) -> None:
    for more in (["--dry-run"], []):
        done = binnacle("submit", "extract", "demo", "refusal", "--method", "mean_diff", *more)
        assert (done.returncode, "warning: refusal is made for the demo models" in " ".join(done.stderr.split())) == (0, True), (
            done.stderr
        )
    (tmp_path / "few.json").write_text(json.dumps([{"prompt": f"p{i}", "label": i % 2} for i in range(6)]))
    (tmp_path / "steering.json").write_text(json.dumps([f"q{i}" for i in range(4)]))
    done = binnacle("traits", "add", "few.json", "steering.json")
    assert "warning: few: 2 test clusters; a verdict needs 20" in " ".join(done.stderr.split()), done.stderr
