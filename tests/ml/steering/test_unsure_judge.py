"""A steering with a judge that cannot tell the classes apart reports all its numbers but no verdict."""

import json
from typing import Any

import pytest

from tests.ml.fake_context import FakeContext
from tests.ml.handlers.test_extraction_handler import TRAIT, files
from tests.ml.steering_jobs import Files, _fitted_once, extracted, severe, steer_spec
from workers.handlers import rescore, steering
from workers.lm.model import LanguageModel

__all__ = ["_fitted_once", "extracted", "severe"]

NOT_ENOUGH = "not enough evidence"


def context(lm: LanguageModel, extracted: Files, **artifacts: bytes) -> FakeContext:
    """The job's context; both classes of the trait have the same prompts, so that their responses are equal."""
    content = json.loads(TRAIT.data)
    same = content | {"positive": content["positive"][:24], "negative": content["positive"][:24]}
    stored = {("job_steer", name): data for name, data in artifacts.items()}
    return FakeContext(lm, blobs={TRAIT.version: json.dumps(same).encode()}, artifacts={**extracted, **stored})


@pytest.fixture(scope="module")
def unsure(severe: LanguageModel, extracted: Files) -> dict[str, bytes]:
    return files(steering.run(spec_of(severe), context(severe, extracted)))


def spec_of(lm: LanguageModel) -> dict[str, Any]:
    return steer_spec(
        lm, extraction=None, doses=[0.5], decomposition=True, controls={"random": 0, "shuffled": 0, "prompt_only": False}
    )


def test_the_steering_and_its_rescoring_give_no_verdict(
    severe: LanguageModel, extracted: Files, unsure: dict[str, bytes]
) -> None:
    summary = json.loads(unsure["summary.json"])
    facts = summary["judge_facts"]
    assert facts["tells_apart"] is False
    assert facts["held_out"]["low"] <= facts["held_out_accuracy"] <= facts["held_out"]["high"]
    contrasts = [one for way in summary["contrasts"].values() for one in way]
    assert any(one["low"] is not None for one in contrasts), "without intervals there would be no verdict anyway"
    assert {one["verdict"] for one in contrasts} == {NOT_ENOUGH}
    parts = {one["decomposition"]["massive_part"] for one in summary["groups"] if one["decomposition"]}
    assert parts == {"unclear"}
    rescored = json.loads(files(rescore.run(rescore_spec_of(severe), context(severe, extracted, **unsure)))["summary.json"])
    assert {one["verdict"] for way in rescored["contrasts"].values() for one in way} == {NOT_ENOUGH}
    assert rescored["judge_facts"]["tells_apart"] is False


def test_the_spread_of_unsteered_scores_is_stored(severe: LanguageModel, extracted: Files, unsure: dict[str, bytes]) -> None:
    summary = json.loads(unsure["summary.json"])
    base = summary["unsteered"]["test"]
    scores = [row["trait"] for line in unsure["responses.jsonl"].splitlines() if (row := json.loads(line))["run"] == base["run"]]
    assert (base["spread"]["min"], base["spread"]["max"]) == (min(scores), max(scores))
    assert base["spread"]["p10"] <= base["spread"]["median"] <= base["spread"]["p90"]


def rescore_spec_of(lm: LanguageModel) -> dict[str, Any]:
    spec = spec_of(lm)
    return {
        "kind": "rescore", "steering": "str_1", "job": "job_steer", "judge": spec["judge"], "coherence_threshold": 70,
        "responses_given": False, **{name: spec[name] for name in ("model", "weight_hash", "trait", "extraction", "seed")},
    }  # fmt: skip
