"""The documents that real jobs write have the types of terms.documents: on a shipped model, with every option that adds a key."""

import json
from typing import Any

import pytest

from app.traits.seeding import shipped_datasets
from shipped import TRAIT_NAMES, model_folder
from terms.documents.calibration import CalibrationDocument, CalibrationResult
from terms.documents.extraction import ExtractionDocument, RespondedLine
from terms.documents.generation import GenerationResult
from terms.documents.outcomes import CalibrationOutcome, ExtractionOutcome, SteeringOutcome
from terms.documents.passport import PassportDocument
from terms.documents.runs import AnswerLine, RunLine
from terms.documents.steering import Summary
from terms.documents.study import StudyResult, TablesDocument
from terms.documents.trait import TraitCounts, TraitDataset
from terms.documents.trait_interp import ResultsBaseline, ResultsHeader, ResultsRun
from tests.judges.endpoint import rating, serving
from tests.ml.fake_context import FakeContext
from tests.ml.handlers.test_extraction_handler import files, spec_of
from tests.ml.steering_jobs import steer_spec
from tests.written_documents import fault
from workers.handlers import calibration, extraction, generation, report, rescore, steering
from workers.job import Outcome
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.proofs.outcome import Proof
from workers.lm.proofs.passport import Passport


def small(name: str) -> bytes:
    """A shipped trait with a few rows of each part: what is written has the same keys."""
    whole = json.loads(shipped_datasets()[TRAIT_NAMES.index(name)].data)
    asked = whole["steering"]["questions"]
    questions = [[one for one in asked if one["split"] == split][:3] for split in ("selection", "test")]
    parts = {
        part: whole[part][:rows] for part, rows in (("positive", 10), ("negative", 10), ("paraphrases", 2), ("unrelated", 2))
    }
    return json.dumps({**whole, **parts, "steering": {**whole["steering"], "questions": [*questions[0], *questions[1]]}}).encode()


BLOBS = {"a" * 64: small("refusal"), "b" * 64: small("sycophancy")}
TRAIT, OTHER = ({"name": name, "version": version} for name, version in zip(("refusal", "sycophancy"), BLOBS, strict=True))
METHODS = ["mean_diff", "probe"]


@pytest.fixture(scope="module")
def severe() -> LanguageModel:
    return load(model_folder("demo-severe"))


@pytest.fixture(scope="module")
def calibrated(severe: LanguageModel) -> Outcome:
    spec = {
        "model": "demo-severe", "weight_hash": severe.facts.weight_hash, "experiment": "calibration", "layers": None, "max_new_tokens": 16,
        "rule": "peeling", "prompts": ["list a few things .", "why is it so ?", "go on .", "describe a river ."],
    }  # fmt: skip
    return calibration.run(spec, FakeContext(severe))


@pytest.fixture(scope="module")
def extracted(severe: LanguageModel, calibrated: Outcome) -> Outcome:
    asked = spec_of(
        severe, trait=TRAIT, layers=[3], methods=METHODS, controls=["shuffled__of-probe__seed1", "random"], refits=["probe__refit1"],
        max_new_tokens=16,
    )  # fmt: skip
    found = {("job_cal", "calibration.json"): calibrated.artifacts[0].data}
    return extraction.run(asked, FakeContext(severe, blobs=BLOBS, artifacts=found))


@pytest.fixture(scope="module")
def stored(calibrated: Outcome, extracted: Outcome) -> dict[tuple[str, str], bytes]:
    """The files of the calibration and of the extraction, as a later job reads them."""
    made = {("job_ext", name): data for name, data in files(extracted).items()}
    return {("job_cal", "calibration.json"): calibrated.artifacts[0].data, **made}


@pytest.fixture(scope="module")
def asked(severe: LanguageModel) -> dict[str, Any]:
    """The spec of a steering with every option that adds a key to its documents."""
    off_target = [{"trait": OTHER, "extraction": None}]
    return steer_spec(
        severe, trait=TRAIT, doses=[0.3], selection_limit=None, test_limit=None, max_new_tokens=8, off_target=off_target,
        reference_protocol=True,
        **{"from": [{"job": "job_ext", "methods": METHODS, "layers": [3], "positions": None, "components": None}]},
        matched=["dose", "coherence", "divergence", "coefficient"], extra_sets=["paraphrases"],
        capability=[{"question": "describe a river .", "system_prompt": None, "cluster": None, "answer": "river"}],
        controls={"random": 1, "shuffled": 1, "prompt_only": True},
    )  # fmt: skip


@pytest.fixture(scope="module")
def steered(severe: LanguageModel, stored: dict[tuple[str, str], bytes], asked: dict[str, Any]) -> Outcome:
    """Under a judge at an endpoint, which need not be fitted to each trait; scoring again is under one that is."""
    with serving(lambda request, _before: rating(request)) as endpoint:
        judge = {"name": "house", "kind": "openai", "model": "j", "url": endpoint.url, "key_env": None, "options": {}}
        return steering.run(asked | {"judge": judge}, FakeContext(severe, blobs=BLOBS, artifacts=stored))


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def check_results(data: bytes) -> None:
    """Asserts that each line of results.jsonl is of its type."""
    header, baseline, *runs = lines(data)
    check(ResultsHeader, header)
    check(ResultsBaseline, baseline)
    check(ResultsRun, *runs)


def check(shape: Any, *documents: Any) -> None:
    """Asserts that each document is of the type."""
    assert documents
    for document in documents:
        assert (said := fault(shape, document)) is None, said


def test_a_document_with_other_keys_or_types_is_found(calibrated: Outcome) -> None:
    good = calibrated.result["calibration"]
    assert fault(CalibrationResult, good) is None
    assert "extra_forbidden" in (fault(CalibrationResult, good | {"more": 1}) or "")
    assert "missing" in (fault(CalibrationResult, {key: good[key] for key in good if key != "layers"}) or "")
    assert "string_type" in (fault(CalibrationResult, good | {"weight_hash": 5}) or "")
    deep = good | {"severity": {**good["severity"], "ratios": {}}}
    assert "severity.ratios.ratio_to_mean" in (fault(CalibrationResult, deep) or "")


def test_a_calibration_writes_documents_of_their_types(calibrated: Outcome) -> None:
    check(CalibrationDocument, json.loads(calibrated.artifacts[0].data))
    check(CalibrationOutcome, calibrated.result)


def test_an_extraction_writes_documents_of_their_types(extracted: Outcome) -> None:
    written = files(extracted)
    check(ExtractionDocument, json.loads(written["extraction.json"]))
    check(RespondedLine, *lines(written["responses.jsonl"]))
    check(ExtractionOutcome, extracted.result)
    now = {"rule", "dims", "share", "clean_norm", "noise_share", "per_dim"}  # the type lets old facts have fewer
    assert all(set(one["massive"]) == now for one in extracted.result["vectors"])


def test_a_steering_writes_documents_of_their_types(steered: Outcome) -> None:
    written = files(steered)
    summary = json.loads(written["summary.json"])
    assert summary["reference_protocol"]
    assert summary["off_target"]
    assert summary["prompt_only"]
    check(Summary, summary)
    check(RunLine, *lines(written["runs.jsonl"]))
    check(AnswerLine, *lines(written["responses.jsonl"]))
    check_results(written["results.jsonl"])
    check(SteeringOutcome, steered.result)


def test_a_steering_scored_again_and_a_report_of_both_write_documents_of_their_types(
    severe: LanguageModel, stored: dict[tuple[str, str], bytes], steered: Outcome, asked: dict[str, Any]
) -> None:
    both = {**stored, **{("job_str", name): data for name, data in files(steered).items()}}
    again = {
        "kind": "rescore", "steering": "str_1", "job": "job_str", "judge": asked["judge"], "coherence_threshold": 70,
        "responses_given": False, **{name: asked[name] for name in ("model", "weight_hash", "trait", "extraction", "seed")},
    }  # fmt: skip
    found = rescore.run(again, FakeContext(severe, blobs=BLOBS, artifacts=both))
    summary = json.loads(files(found)["summary.json"])
    assert summary["judge_facts"]["held_out"]
    check(Summary, summary)
    check(RunLine, *lines(files(found)["runs.jsonl"]))
    check(AnswerLine, *lines(files(found)["responses.jsonl"]))
    check_results(files(found)["results.jsonl"])
    check(SteeringOutcome, found.result)
    study = {
        "models": ["demo-severe"], "traits": ["refusal"], "evidence": "quick", "coherence_threshold": 70.0, "published": [], "seed": 0,
    }  # fmt: skip
    nodes = {
        "calibrate/demo-severe": {"job": "job_cal", "kind": "calibrate", "model": "demo-severe", "trait": None, "place": 0},
        "extract/demo-severe/refusal": {"job": "job_ext", "kind": "extract", "model": "demo-severe", "trait": "refusal", "place": 1},
        "steer/demo-severe/refusal": {"job": "job_str", "kind": "steer", "model": "demo-severe", "trait": "refusal", "place": 2},
        "steer/demo-severe/other": {"job": "job_gone", "kind": "steer", "model": "demo-severe", "trait": "other", "place": 3},
    }  # fmt: skip
    results = {node["job"]: {"state": "succeeded", "error": None} for node in nodes.values()}
    results["job_gone"] = {"state": "failed", "error": {"code": "internal_error", "detail": "It broke."}}
    told = report.run({"study": study, "nodes": nodes}, Reported(severe, artifacts=both, results=results))
    tables = json.loads(files(told)["tables.json"])
    check(TablesDocument, tables | {"study": STUDY | tables["study"]})
    check(StudyResult, told.result)


def test_a_generation_writes_documents_of_their_types(severe: LanguageModel, stored: dict[tuple[str, str], bytes]) -> None:
    vector = {
        "digest": "d",
        "key": json.loads(stored["job_ext", "extraction.json"])["vectors"][0]["key"],
        "component": "residual",
    }
    vectors = [{**vector, "method": "mean_diff", "layer": 3, "position": None, "id": "vec_1"}]
    spec = {
        "kind": "generate", "model": "demo-severe", "weight_hash": severe.facts.weight_hash, "vectors": vectors, "doses": [0.5],
        "coefficients": None, "prompts": [{"prompt": "describe a river .", "system_prompt": None}], "operation": "add", "scope": "all",
        "max_new_tokens": 4, "sampling": None, "calibration": {"job": "job_cal"},
    }  # fmt: skip
    blobs = {"d": stored["job_ext", "vectors.safetensors"]}
    check(GenerationResult, generation.run(spec, FakeContext(severe, blobs=blobs, artifacts=stored)).result)


def test_shipped_traits_and_passports_are_what_is_read() -> None:
    check(TraitDataset, *(json.loads(one.data) for one in shipped_datasets()))
    check(TraitCounts, *(one.counts for one in shipped_datasets()))
    check(PassportDocument, Passport(3, (Proof("prompt", "limited", 1, "prompts", "It is so."),), "ab").to_dict())


class Reported(FakeContext):
    """Knows no passports."""

    def model_passport(self, name: str, weight_hash: str) -> None:
        return None


STUDY = {
    "methods": ["probe"], "positions": ["response[:5]"], "components": ["residual"], "layers": "middle", "ablation": None, "refits": None,
    "budget": 6, "max_new_tokens": 64, "calibration_new_tokens": 128, "selection_limit": None, "test_limit": None, "judge": "reference",
    "controls": {"random": 1, "shuffled": 1, "prompt_only": False}, "matched": ["dose"], "capability": None, "resamples": 50,
}  # fmt: skip
"""The fields of a study's request that its report does not read; what the service writes is checked by `specs_as_written`."""
