"""The faults of an extraction job, each with its code and the example, layer or method at fault; and empty windows, which are counted."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

from tests.ml.fake_context import FakeContext
from tests.ml.handlers.test_extraction_handler import files
from tests.ml.tiny_models import CONTEXT, HIDDEN, LAYERS
from workers.handlers import calibration, extraction
from workers.job import JobFault
from workers.lm.capture import assert_no_hooks
from workers.lm.model import LanguageModel

Lms = Callable[..., LanguageModel]
WORDS = ["please", "tell", "me", "how", "to", "bake", "a", "loaf", "of", "bread", "on", "a", "quiet", "day", "by", "the", "sea"]


def trait(n: int = 8, **changes: Any) -> dict[str, Any]:
    """A trait dataset of `n` pairs, each pair a cluster of its own."""
    sides = {
        label: [{"prompt": f"{WORDS[i % len(WORDS)]} {label} {i}", "system_prompt": None, "cluster": f"c{i}"} for i in range(n)]
        for label in ("positive", "negative")
    }
    return {"name": "kindness", "definition": "kind", **sides, **changes}


def spec(lm: LanguageModel, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "extract",
        "model": "tiny",
        "weight_hash": lm.facts.weight_hash,
        "trait": {"name": "kindness", "version": "v"},
        "positions": ["response[:3]"],
        "components": ["residual"],
        "layers": [1],
        "methods": ["mean_diff", "probe"],
        "controls": [],
        "refits": [],
        "calibration": None,
        "responses": "generate",
        "max_new_tokens": 3,
        "validation_share": 0.25,
        "seed": 0,
        "resamples": 0,
        "keep_rows": True,
        "vetting": None,
        "rows_from": None,
        "rows_key": None,
    } | changes


def run(lm: LanguageModel, content: dict[str, Any], *, cal: bytes | None = None, **changes: Any) -> dict[str, bytes]:
    artifacts = {} if cal is None else {("job_cal", "calibration.json"): cal}
    calibrated = {} if cal is None else {"calibration": {"job": "job_cal"}}
    context = FakeContext(lm, blobs={"v": json.dumps(content).encode()}, artifacts=artifacts)
    return files(extraction.run(spec(lm, **calibrated, **changes), context))


def fault(lm: LanguageModel, content: dict[str, Any], **changes: Any) -> JobFault:
    with pytest.raises(JobFault) as found:
        run(lm, content, **changes)
    assert_no_hooks(lm.model)
    return found.value


@pytest.fixture(scope="module")
def calibrated(_loaded: Lms) -> bytes:
    lm = _loaded("llama", "float32", tokenizer="chat")
    asked = {"model": "tiny", "weight_hash": lm.facts.weight_hash, "experiment": "x", "layers": None, "rule": "peeling"}
    prompts = [{"prompt": word} for word in WORDS[:6]]
    data = calibration.run({**asked, "prompts": prompts, "max_new_tokens": 8}, FakeContext(lm)).artifacts[0].data
    assert isinstance(data, bytes)
    return data


@pytest.fixture
def lm(tiny_lm: Lms) -> LanguageModel:
    return tiny_lm("llama", tokenizer="chat")


def test_a_prompt_past_the_context_is_named_with_the_arithmetic(lm: LanguageModel) -> None:
    content = trait()
    content["negative"][2]["prompt"] = "a" * CONTEXT
    found = fault(lm, content)
    assert found.code == "prompt_too_long"
    assert "The negative prompt 2" in found.detail
    assert f"{CONTEXT}" in found.detail


def test_examples_with_an_empty_window_are_counted_and_named(lm: LanguageModel) -> None:
    """Responses of one token leave response[1:3] empty: these two examples are left out, and the vector is made of the others."""
    content = trait()
    for label in ("positive", "negative"):
        for row in content[label]:
            row["response"] = f"{row['prompt']} yes"
    content["positive"][3]["response"] = content["negative"][5]["response"] = "a"
    found = run(lm, content, responses="given", positions=["response[1:3]", "response[:3]"], validation_share=0)
    document = json.loads(found["extraction.json"])
    assert document["counts"]["empty_windows"] == {
        "response[1:3]": {"positive": [3], "negative": [5]},
        "response[:3]": {"positive": [], "negative": []},
    }
    facts = {one["key"]: one["counts"] for one in document["vectors"]}
    assert facts["response[1:3]/residual/mean_diff/1"] == {"positive": 7, "negative": 7}
    assert facts["response[:3]/residual/mean_diff/1"] == {"positive": 8, "negative": 8}


def test_limits_that_the_service_left_to_the_job_are_checked_once_the_layers_are_known(lm: LanguageModel) -> None:
    found = fault(lm, trait(), layers=None, limits={"vectors": 2 * LAYERS - 1, "rows_bytes": 0})
    assert found.code == "too_many_vectors"
    assert f"x {LAYERS} layers x 2 methods" in found.detail
    assert f"= {2 * LAYERS} vectors; this server allows {2 * LAYERS - 1}." in found.detail
    whole = {"vectors": 2 * LAYERS, "rows_bytes": 1 << 20}
    assert "rows.safetensors" in run(lm, trait(), layers=None, limits=whole)
    assert "rows.safetensors" not in run(lm, trait(), layers=None, limits=whole | {"rows_bytes": HIDDEN})


def test_a_class_that_would_vanish_is_refused_naming_the_window(lm: LanguageModel) -> None:
    content = trait()
    for label in ("positive", "negative"):
        for row in content[label]:
            row["response"] = "yes" if label == "positive" else "y"
    found = fault(lm, content, responses="given", positions=["response[1:3]"])
    assert found.code == "class_vanished"
    assert "No negative training example" in found.detail
    assert found.facts["position"] == "response[1:3]"


def test_identical_prompts_in_both_classes_coincide_where_they_are_read(lm: LanguageModel) -> None:
    """The responses differ, so the dataset is accepted; at a prompt position the classes are equal."""
    content = trait()
    for i in range(8):
        content["negative"][i]["prompt"] = content["positive"][i]["prompt"]
        content["positive"][i]["response"], content["negative"][i]["response"] = f"yes {i}", f"no {i}"
    assert run(lm, content, responses="given")
    found = fault(lm, content, responses="given", positions=["prompt[-1]"])
    assert found.code == "classes_coincide"
    assert "prompt[-1], residual, layer 1" in found.detail


def test_one_example_a_class_has_a_mean_diff_and_a_probe_and_too_few_rows_for_lda(lm: LanguageModel) -> None:
    content = trait(1)
    vectors = load_safetensors(run(lm, content, validation_share=0)["vectors.safetensors"])
    assert all(np.linalg.norm(one) == pytest.approx(1, abs=1e-6) for one in vectors.values())
    found = fault(lm, content, validation_share=0, methods=["lda"])
    assert (found.code, "covariance" in found.detail) == ("too_few_rows", True)


def test_activations_that_are_not_finite_name_layer_and_example(lm: LanguageModel) -> None:
    site = lm.layout.site(1, "residual")
    handle = site.register_forward_hook(
        lambda _m, _i, out: out * float("nan") if out.shape[1] > 1 else None  # in reading, not in generating steps
    )
    try:
        content = trait()
        for label in ("positive", "negative"):
            for row in content[label]:
                row["response"] = f"{row['prompt']} yes"
        with pytest.raises(JobFault) as found:
            run(lm, content, responses="given", layers=[0, 1])
    finally:
        handle.remove()
    assert found.value.code == "activations_not_finite"
    assert "residual of layer 1" in found.value.detail
    assert "example" in found.value.detail


def test_an_unknown_layer_or_component_is_refused_before_anything_is_generated(lm: LanguageModel) -> None:
    for changes, code in (({"layers": [LAYERS]}, "layer_out_of_range"), ({"components": ["embedding"]}, "unknown_component")):
        context = FakeContext(lm, blobs={"v": json.dumps(trait()).encode()})
        with pytest.raises(JobFault, match=code):
            extraction.run(spec(lm, **changes), context)
        assert context.phases == []


def test_a_missing_response_is_named(lm: LanguageModel) -> None:
    content = trait()
    for row in (*content["positive"], *content["negative"][1:]):
        row["response"] = "yes"
    found = fault(lm, content, responses="given")
    assert (found.code, "negative example 0" in found.detail) == ("responses_missing", True)


def test_every_method_runs_in_a_job_and_stores_its_vectors_and_facts(lm: LanguageModel, calibrated: bytes) -> None:
    asked = ["mean_diff", "mean_diff_rownorm", "probe", "gradient__steps50", "lm_loss__steps3", "pca", "lda", "rfm", "random"]
    suffixed = ["lm_loss_top1__steps3", "probe_pretop2", "mean_diff_preclean", "shuffled__of-probe__seed1", "probe__refit1"]
    found = run(lm, trait(24), cal=calibrated, methods=[*asked, *suffixed], resamples=4, positions=["response[:3]", "prompt[-1]"])
    vectors = load_safetensors(found["vectors.safetensors"])
    facts = {one["key"]: one for one in json.loads(found["extraction.json"])["vectors"]}
    assert set(vectors) == set(facts)
    assert len(vectors) == 2 * len([*asked, *suffixed])
    for key, one in facts.items():
        assert np.linalg.norm(vectors[key]) == pytest.approx(1, abs=1e-6)
        assert {"norm", "baseline", "fit", "separation", "massive", "stability", "pairs", "counts", "seed"} <= set(one)
        assert one["separation"]["n_positive"] == 6
    trained = [f"{position}/residual/lm_loss__steps3/1" for position in ("response[:3]", "prompt[-1]")]
    assert np.array_equal(*(vectors[key] for key in trained))  # trained through the model, so the same at every position
    assert facts["response[:3]/residual/probe/1"]["fit"]["converged"]


def test_rows_of_a_larger_extraction_serve_a_smaller_one_with_another_split(lm: LanguageModel) -> None:
    content, asked = trait(), {"layers": [2], "positions": ["response[:3]"], "validation_share": 0, "keep_rows": False}
    wide = run(lm, content, layers=[1, 2], positions=["prompt[-1]", "response[:3]"])
    context = FakeContext(
        lm,
        blobs={"v": json.dumps(content).encode()},
        artifacts={("job_old", name): wide[name] for name in ("responses.jsonl", "rows.safetensors", "extraction.json")},
    )
    again = files(extraction.run(spec(lm, rows_from="job_old", **asked), context))
    afresh = run(lm, content, **asked)
    assert set(again) == set(afresh)
    assert again["extraction.json"] == afresh["extraction.json"]
    one, other = (load_safetensors(found["vectors.safetensors"]) for found in (again, afresh))
    assert all(np.allclose(one[key], other[key], atol=1e-6) for key in other)


def test_training_through_the_model_reports_every_step_and_can_be_stopped(lm: LanguageModel, calibrated: bytes) -> None:
    class StoppedError(Exception):
        pass

    def stop(reports: int) -> None:
        if reports > 10:
            raise StoppedError

    artifacts = {("job_cal", "calibration.json"): calibrated}
    context = FakeContext(lm, blobs={"v": json.dumps(trait()).encode()}, artifacts=artifacts, stop=stop)
    asked = spec(lm, methods=["lm_loss__steps500"], calibration={"job": "job_cal"})
    with pytest.raises(StoppedError):
        extraction.run(asked, context)
    assert_no_hooks(lm.model)


def test_lm_loss_is_refused_where_it_is_not_trained(lm: LanguageModel, calibrated: bytes) -> None:
    found = fault(lm, trait(), cal=calibrated, methods=["lm_loss__steps2"], components=["mlp_contribution"])
    assert found.code == "method_elsewhere"


def test_a_refit_without_a_fit_is_left_out_and_named(lm: LanguageModel) -> None:
    """Two clusters: the first resample with a refit of `lda` may draw one cluster twice, which failed the whole extraction."""
    refits = [f"{method}__refit{k}" for method in ("lda", "mean_diff") for k in range(1, 13)]
    asked: dict[str, Any] = {"validation_share": 0, "methods": ["lda", "mean_diff"], "refits": refits, "layers": [1]}
    made = run(lm, trait(2), **asked)
    document, vectors = json.loads(made["extraction.json"]), load_safetensors(made["vectors.safetensors"])
    lost = document["refits_left_out"]
    assert 0 < len(lost) < 12
    assert all("/lda__refit" in key for key in lost)
    assert vectors.keys().isdisjoint(lost)
    assert len(vectors) + len(lost) == 2 + len(refits)
    assert fault(lm, trait(2), **{**asked, "methods": [lost[0].split("/")[2]], "refits": []}).code == "too_few_rows"
