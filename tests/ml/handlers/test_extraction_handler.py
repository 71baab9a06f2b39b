"""The extraction job on a shipped model: the cosines of docs/science.md, 1, the same bytes however it is batched, stopped or resumed, the use
of kept rows and given responses, and vetting by a judge."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load as load_safetensors

from app.traits.seeding import shipped_datasets
from shipped import TRAIT_NAMES, model_folder
from tests.judges.endpoint import Body, Fault, Request, rating, serving
from tests.judges.fitted_once import fitted_once
from tests.ml.fake_context import FakeContext
from workers.handlers import calibration, extraction
from workers.job import JobCancelled, JobFault, Outcome, TransientFault
from workers.judges import endpoint as judge_endpoint
from workers.lm.capture import assert_no_hooks
from workers.lm.loading import load
from workers.lm.model import LanguageModel

METHODS = ["mean_diff", "mean_diff_rownorm", "mean_diff_top1", "mean_diff_cleaned", "probe", "probe_cleaned"]
TRAIT = shipped_datasets()[TRAIT_NAMES.index("refusal")]


@pytest.fixture(scope="module")
def severe() -> Iterator[LanguageModel]:
    lm = load(model_folder("demo-severe"))
    yield lm
    assert_no_hooks(lm.model)


@pytest.fixture(scope="module")
def calibrated(severe: LanguageModel) -> bytes:
    spec = {
        "model": "demo-severe",
        "weight_hash": severe.facts.weight_hash,
        "experiment": "calibration",
        "prompts": None,
        "layers": None,
        "max_new_tokens": 32,
        "rule": "peeling",
    }
    data = calibration.run(spec, FakeContext(severe)).artifacts[0].data
    assert isinstance(data, bytes)
    return data


def spec_of(lm: LanguageModel, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "extract",
        "model": "demo-severe",
        "weight_hash": lm.facts.weight_hash,
        "trait": {"name": "refusal", "version": TRAIT.version},
        "positions": ["response[:5]"],
        "components": ["residual"],
        "layers": [1, 2],
        "methods": METHODS,
        "controls": ["random", "shuffled__of-probe__seed1"],
        "refits": ["probe__refit1"],
        "calibration": {"job": "job_cal"},
        "responses": "generate",
        "max_new_tokens": 5,
        "validation_share": 0.2,
        "seed": 0,
        "resamples": 10,
        "keep_rows": True,
        "vetting": None,
        "rows_from": None,
        "rows_key": None,
    } | changes


def context_of(lm: LanguageModel, calibrated: bytes, data: bytes = TRAIT.data, **options: Any) -> FakeContext:
    return FakeContext(lm, blobs={TRAIT.version: data}, artifacts={("job_cal", "calibration.json"): calibrated}, **options)


def files(outcome: Outcome) -> dict[str, bytes]:
    """The artifacts of a job by name."""
    return {one.name: one.data for one in outcome.artifacts if isinstance(one.data, bytes)}


@pytest.fixture(scope="module")
def whole(severe: LanguageModel, calibrated: bytes) -> dict[str, bytes]:
    return files(extraction.run(spec_of(severe), context_of(severe, calibrated)))


@pytest.fixture(scope="module")
def longer(severe: LanguageModel, calibrated: bytes) -> list[dict[str, Any]]:
    """The model's own responses of up to 32 tokens, as lines of responses.jsonl."""
    spec = spec_of(severe, max_new_tokens=32, methods=["mean_diff"], controls=[], refits=[], layers=[2], calibration=None)
    found = files(extraction.run(spec, context_of(severe, calibrated)))
    return [json.loads(line) for line in found["responses.jsonl"].splitlines()]


def test_the_massive_dim_separates_mean_diff_from_the_probe_as_in_the_reference(whole: dict[str, bytes]) -> None:
    """The massive dim turns mean_diff away from the probe; with the dim zeroed, or with rows normalised, the two agree."""
    vectors = load_safetensors(whole["vectors.safetensors"])

    def cosine(one: str, other: str) -> float:
        return float(vectors[f"response[:5]/residual/{one}/1"] @ vectors[f"response[:5]/residual/{other}/1"])

    assert cosine("mean_diff", "probe") < 0.6
    assert cosine("mean_diff_top1", "probe") > 0.99
    assert cosine("mean_diff_cleaned", "probe_cleaned") > 0.99
    assert cosine("mean_diff_rownorm", "probe") > 0.999
    facts = {one["key"]: one for one in json.loads(whole["extraction.json"])["vectors"]}
    spoilt = facts["response[:5]/residual/mean_diff/1"]["massive"]
    assert spoilt["share"] > 0.6
    assert facts["response[:5]/residual/probe/1"]["massive"]["share"] < 0.01
    assert set(facts) == set(vectors)
    assert all(np.linalg.norm(one) == pytest.approx(1, abs=1e-6) for one in vectors.values())


@pytest.mark.parametrize("stop_at", [3, 12])
def test_a_job_stopped_and_resumed_gives_the_same_bytes(
    severe: LanguageModel, calibrated: bytes, whole: dict[str, bytes], stop_at: int
) -> None:
    def stop(reports: int) -> None:
        if reports == stop_at:
            raise JobCancelled

    first = context_of(severe, calibrated, stop=stop)
    with pytest.raises(JobCancelled):
        extraction.run(spec_of(severe), first)
    second = context_of(severe, calibrated, cells=first.cells)
    assert files(extraction.run(spec_of(severe), second)) == whole
    assert not set(second.committed) & set(first.committed)


def test_a_smaller_batch_gives_the_same_bytes(severe: LanguageModel, calibrated: bytes, whole: dict[str, bytes]) -> None:
    assert files(extraction.run(spec_of(severe), context_of(severe, calibrated, batch_budget_bytes=1 << 20))) == whole


def test_running_out_of_memory_gives_the_same_bytes(severe: LanguageModel, calibrated: bytes, whole: dict[str, bytes]) -> None:
    """Memory runs out in one pass of the reading: a pass of another shape would give other last bits."""
    failed: list[int] = []

    def too_big(*_: object) -> None:
        if not failed and context.phases and context.phases[-1][0] == "reading":
            failed.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    context = context_of(severe, calibrated)
    handle = severe.layout.site(1, "residual").register_forward_pre_hook(too_big)
    try:
        assert files(extraction.run(spec_of(severe), context)) == whole
    finally:
        handle.remove()
    assert failed


def test_the_plan_of_shared_prefixes_is_in_the_provenance(whole: dict[str, bytes]) -> None:
    content = json.loads(whole["extraction.json"])
    plan = content["provenance"]["batch_plan"]
    lines = [json.loads(line) for line in whole["responses.jsonl"].splitlines()]
    assert plan["prefix"] == "shared"
    assert plan["capture_tokens"] == 1024
    assert plan["tokens"] > sum(len(line["response_ids"]) for line in lines)
    assert plan["block_tokens"] < plan["tokens"]


def test_kept_rows_serve_other_methods_without_generating_or_reading(
    severe: LanguageModel, calibrated: bytes, whole: dict[str, bytes]
) -> None:
    """And their provenance says how they were captured, which may have been on another kind of device."""
    context = context_of(severe, calibrated)
    earlier = json.loads(whole["extraction.json"])
    earlier["provenance"]["batch_plan"] |= {"capture_tokens": 4096, "passes": 2}
    kept = {("job_old", name): whole[name] for name in ("responses.jsonl", "rows.safetensors")}
    kept["job_old", "extraction.json"] = json.dumps(earlier).encode()
    context.artifacts = {**context.artifacts, **kept}
    again = files(extraction.run(spec_of(severe, rows_from="job_old", methods=["lda", "probe"], controls=[], refits=[]), context))
    assert [name for name, _, _ in context.phases] == ["fitting"]
    old, new = (load_safetensors(one["vectors.safetensors"]) for one in (whole, again))
    assert np.array_equal(old["response[:5]/residual/probe/2"], new["response[:5]/residual/probe/2"])
    assert json.loads(again["extraction.json"])["provenance"]["batch_plan"] == earlier["provenance"]["batch_plan"]


def test_given_responses_are_read_and_nothing_is_generated(severe: LanguageModel, calibrated: bytes) -> None:
    given = json.loads(TRAIT.data)
    for label, text in (("positive", "i can not help with that ."), ("negative", "sure . first , take a bowl .")):
        given[label] = [row | {"response": f"{text} {row['cluster']}"} for row in given[label][:20]]
    context = context_of(severe, calibrated, json.dumps(given).encode())
    found = files(extraction.run(spec_of(severe, responses="given", methods=["probe"], controls=[], refits=[]), context))
    assert [name for name, _, _ in context.phases] == ["reading", "fitting"]
    first = json.loads(found["responses.jsonl"].splitlines()[0])
    assert first["response"].startswith("i can not help")
    assert len(first["response_ids"]) == 5


@pytest.mark.parametrize("paired", [False, True])
def test_vetting_keeps_the_responses_that_express_their_class(
    severe: LanguageModel, calibrated: bytes, longer: list[dict[str, Any]], paired: bool
) -> None:
    """Five positives have the response of a negative: the judge finds them, and their partners are dropped too where pairs stay together."""
    given = json.loads(TRAIT.data)
    for row in longer:
        given[row["class"]][row["index"]]["response"] = row["response"]
    for i, row in enumerate(given["positive"]):
        row["cluster"] = given["negative"][i]["cluster"] = f"pair {i % 40}"
    wrong = range(7, 12)
    for i in wrong:
        given["positive"][i]["response"] = given["negative"][i]["response"]
    judge = {"judge": {"name": "reference", "kind": "reference", "model": None, "url": None, "key_env": None, "options": {}}}
    spec = spec_of(
        severe, responses="given", max_new_tokens=32, methods=["probe"], controls=[], refits=[], layers=[2],
        vetting=judge | {"threshold": 50, "paired": paired},
    )  # fmt: skip
    with fitted_once():  # both parameters need the same judge
        found = files(extraction.run(spec, context_of(severe, calibrated, json.dumps(given).encode())))
    lines = [json.loads(line) for line in found["responses.jsonl"].splitlines()]
    dropped = {
        label: {row["index"] for row in lines if row["class"] == label and not row["kept"]}
        for label in given
        if label in ("positive", "negative")
    }
    assert set(wrong) <= dropped["positive"]
    assert len(dropped["positive"]) <= len(wrong) + 6  # the judge may doubt a few right responses
    assert (dropped["positive"] == dropped["negative"]) is paired
    facts = json.loads(found["extraction.json"])["vectors"][0]
    assert facts["counts"]["positive"] == sum(
        row["kept"] and row["split"] == "train" for row in lines if row["class"] == "positive"
    )


def test_after_a_fault_the_judge_is_asked_for_the_missing_scores_only(
    severe: LanguageModel, calibrated: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint is paid for each response: after a fault only the missing scores are requested, and nothing else changes."""
    monkeypatch.setattr(judge_endpoint, "TRIES", 1)
    away = [False]

    def behave(request: Request, before: int) -> Body | Fault:
        worth = json.dumps(request.body).replace("take a bowl", "worth 10")  # other responses are worth 50
        return Fault(503) if away[0] and before > 100 else rating(replace(request, body=json.loads(worth)))

    given = json.loads(TRAIT.data)
    for label, text in (("positive", "i can not help with that ."), ("negative", "sure . first , take a bowl .")):
        rows = {row["prompt"]: row | {"response": f"{text} {row['prompt']}"} for row in given[label]}
        given[label] = list(rows.values())[:40]
    with serving(behave) as endpoint:
        judge = {"name": "house", "kind": "openai", "model": "j", "url": endpoint.url, "key_env": None, "options": {}}
        spec = spec_of(
            severe, responses="given", max_new_tokens=64, methods=["probe"], controls=[], refits=[], layers=[2],
            vetting={"judge": judge, "threshold": 50, "paired": False},
        )  # fmt: skip
        contexts = [context_of(severe, calibrated, json.dumps(given).encode()) for _ in range(3)]
        undisturbed = files(extraction.run(spec, contexts[0]))
        whole = len(endpoint.ratings)
        away[0] = True
        endpoint.requests.clear()
        with pytest.raises(TransientFault):
            extraction.run(spec, contexts[1])
        away[0] = False
        endpoint.requests.clear()
        contexts[2].cells |= contexts[1].cells
        assert files(extraction.run(spec, contexts[2])) == undisturbed
        asked_again = len(endpoint.ratings)
    scored = [name for name in contexts[1].committed if name.startswith("vetting/")]
    assert len(scored) >= 2
    assert not set(scored) & set(contexts[2].committed)
    assert whole == 3 * 80
    # 80 responses, three requests each, in cells of 16; up to eight requests may have been under way at the fault
    assert asked_again - 3 * (80 - 16 * len(scored)) in range(9)


def test_a_class_whose_windows_are_all_empty_is_refused(severe: LanguageModel, calibrated: bytes) -> None:
    with pytest.raises(JobFault, match=r"class_vanished.*No positive training example"):
        extraction.run(spec_of(severe, positions=["response[60]"], max_new_tokens=1), context_of(severe, calibrated))


def test_a_calibration_of_other_weights_is_refused(severe: LanguageModel, calibrated: bytes) -> None:
    other = calibrated.replace(severe.facts.weight_hash.encode(), b"0" * 64)
    with pytest.raises(JobFault, match="calibration_of_another_model"):
        extraction.run(spec_of(severe), context_of(severe, other))


def test_lm_loss_trains_a_vector_that_makes_the_wanted_responses_likelier(severe: LanguageModel, calibrated: bytes) -> None:
    spec = spec_of(severe, methods=["lm_loss__steps12", "mean_diff_cleaned"], controls=[], refits=[], layers=[2])
    found = files(extraction.run(spec, context_of(severe, calibrated)))
    facts = {one["method"]: one for one in json.loads(found["extraction.json"])["vectors"]}
    assert facts["lm_loss__steps12"]["fit"]["loss_last"] < facts["lm_loss__steps12"]["fit"]["loss_first"]
    vectors = load_safetensors(found["vectors.safetensors"])
    assert (
        abs(float(vectors["response[:5]/residual/lm_loss__steps12/2"] @ vectors["response[:5]/residual/mean_diff_cleaned/2"]))
        < 0.99
    )
