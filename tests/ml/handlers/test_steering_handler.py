"""The steering job on a shipped model: vectors steer and controls do not, a stopped and resumed job gives the same bytes, texts can be scored
again, and every option of a request is reported."""

import json

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

from app.formats.tensorfile import to_bytes
from app.pages.texts import runs as answered
from app.traits.seeding import shipped_datasets
from shipped import TRAIT_NAMES
from tests.judges.endpoint import Body, Fault, Request, rating, serving
from tests.judges.fitted_once import afresh
from tests.ml.fake_context import FakeContext
from tests.ml.handlers.test_extraction_handler import TRAIT, files, spec_of
from tests.ml.steering_jobs import FEW, NO_CONTROLS, Files, _fitted_once, context, extracted, severe, steer_spec, summary_of
from workers.handlers import extraction, rescore, steering
from workers.job import JobCancelled, JobFault, TransientFault
from workers.judges import endpoint as judge_endpoint
from workers.lm.model import LanguageModel
from workers.steering.reporting import SAMPLED, SEVERAL_LAYERS

__all__ = ["_fitted_once", "extracted", "severe"]


@pytest.fixture(scope="module")
def whole(severe: LanguageModel, extracted: Files) -> dict[str, bytes]:
    return files(steering.run(steer_spec(severe), context(severe, extracted)))


def test_at_equal_dose_mean_diff_steers_as_the_probe_does_and_a_random_vector_does_not(whole: dict[str, bytes]) -> None:
    """That mean_diff fails was an artefact of equal raw coefficients (docs/science.md, 1)."""
    summary = json.loads(whole["summary.json"])
    groups = {one["method"]: one for one in summary["groups"]}
    for method in ("mean_diff", "mean_diff_cleaned", "probe"):
        assert groups[method]["matched"]["dose"]["delta"] > 40
    assert groups["mean_diff"]["best"]["c"] > 1.2 * groups["probe"]["best"]["c"]
    assert groups["probe"]["controls"]["random"][0]["delta"] < 15
    assert groups["mean_diff"]["decomposition"]["arms"]["massive"]["delta"] < 10
    assert summary["unsteered"]["test"]["trait"] < 10


def test_the_answers_of_a_part_of_a_vector_are_described_by_the_part(whole: dict[str, bytes]) -> None:
    """Pages and reports once described all three arms of a decomposition in the same words."""
    runs = [json.loads(line) for line in whole["runs.jsonl"].splitlines()]
    arms = {
        answered.where(one).partition(", dose")[0]
        for one in runs
        if "decomposition" in one["roles"] and answered.method_of(one, frozenset()) == "mean_diff"
    }
    assert arms == {"layer 3", "clean part, layer 3", "massive part, layer 3"}


def test_vectors_of_nearly_equal_direction_give_nearly_equal_gains_and_texts_at_equal_dose(
    extracted: Files, whole: dict[str, bytes]
) -> None:
    """At a cosine over 0.998 the greedy texts of four questions of five are equal; the reference reported such a pair far apart."""
    vectors = load_safetensors(extracted["job_ext", "vectors.safetensors"])
    one, other = (vectors[f"response[:5]/residual/{method}/3"].astype(float) for method in ("mean_diff_cleaned", "probe"))
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.998
    summary = json.loads(whole["summary.json"])
    at = {group["method"]: group["matched"]["dose"] for group in summary["groups"]}
    assert at["mean_diff_cleaned"]["r"] == at["probe"]["r"]
    assert abs(at["mean_diff_cleaned"]["delta"] - at["probe"]["delta"]) < 10
    texts: dict[str, dict[str, list[int]]] = {}
    for line in whole["responses.jsonl"].splitlines():
        row = json.loads(line)
        texts.setdefault(row["run"], {})[row["question"]] = row["ids"]
    first, second = texts[at["mean_diff_cleaned"]["run"]], texts[at["probe"]["run"]]
    same = sum(first[question] == second[question] for question in first)
    assert len(first) == 22
    assert same >= 0.8 * len(first)


def test_vectors_of_another_model_are_dosed_by_the_steered_model_and_name_their_source(
    severe: LanguageModel, extracted: Files, whole: dict[str, bytes]
) -> None:
    """Massive dims and norms of a dose are those of the steered model; those of the source are reported too."""
    [source] = steer_spec(severe)["from"]
    made_on = {"source_model": "base", "source_weight_hash": "c" * 64}
    own = json.loads(whole["summary.json"])
    changed = {"from": [{**source, "source": made_on}], "extraction": None}
    other = summary_of(severe, extracted, doses=[0.3], decomposition=False, **FEW, **changed)
    facts = {one["key"]: one for one in json.loads(extracted["job_ext", "extraction.json"])["vectors"]}
    assert {one["group"] for one in other["groups"]} == {f"base:{one['group']}" for one in own["groups"]}
    for one in [*other["groups"], *other["subjects"]]:
        assert {name: one[name] for name in made_on} == made_on
        dims = {str(layer): facts[f"{one['group'].removeprefix('base:')}/{layer}"]["massive"]["dims"] for layer in one["layers"]}
        assert one["source_massive_by_layer"] == dims
    assert other["massive_by_layer"] == own["massive_by_layer"]
    shares = [{one["group"].removeprefix("base:"): one["clean_share"] for one in found["subjects"]} for found in (own, other)]
    assert shares[0] == shares[1]
    assert not any("source_model" in one for one in own["groups"])


def test_the_phrases_judge_scores_the_trait_and_the_reference_judge_the_coherence(
    severe: LanguageModel, extracted: Files, whole: dict[str, bytes]
) -> None:
    """The demo models refuse in other words, so the trait scores differ; coherence is scored by the reference judge, and stays."""
    described = {"name": "refusal-phrases", "kind": "phrases", "model": None, "url": None, "key_env": None, "options": {}}
    own = json.loads(whole["summary.json"])
    found = summary_of(severe, extracted, doses=[0.3], decomposition=False, controls=NO_CONTROLS, judge=described)
    assert (found["judge"]["name"], found["judge_facts"]["kind"]) == ("refusal-phrases", "phrases")
    assert found["unsteered"]["test"]["coherence"] == own["unsteered"]["test"]["coherence"]
    assert found["unsteered"]["test"]["trait"] != own["unsteered"]["test"]["trait"]


def test_every_steered_run_reports_the_effect_of_its_hooks(whole: dict[str, bytes]) -> None:
    runs = [json.loads(line) for line in whole["runs.jsonl"].splitlines()]
    steered = [run for run in runs if run["vector"] is not None]
    assert steered
    for run in steered:
        assert run["effect"]["fires"] > 0
        assert run["effect"]["mean_change"] == pytest.approx(abs(run["c"]), rel=0.02)
    assert sum(run["n"] for run in runs) == len(whole["responses.jsonl"].splitlines())


@pytest.mark.parametrize(("kind", "most"), [("run/", 3), pytest.param("preparing/", 1, marks=pytest.mark.long)])
def test_a_job_stopped_and_resumed_gives_the_same_bytes_and_repeats_no_finished_run(
    severe: LanguageModel, extracted: Files, whole: dict[str, bytes], kind: str, most: int
) -> None:
    """Stopped once `most` runs are stored, or cells of the judge's preparation."""

    def finished() -> int:
        return sum(name.startswith(kind) for name in first.committed)

    def stop(_reports: int) -> None:
        if finished() >= most:
            raise JobCancelled

    with afresh():
        first = context(severe, extracted, stop=stop)
        with pytest.raises(JobCancelled):
            steering.run(steer_spec(severe), first)
        second = context(severe, extracted, cells=first.cells)
        assert files(steering.run(steer_spec(severe), second)) == whole
    assert finished() >= most
    assert not set(second.committed) & set(first.committed)


def test_texts_generated_before_a_fault_of_the_judge_are_kept(
    severe: LanguageModel, extracted: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts generated before the endpoint failed are scored later and not generated again; every text has its likelihood."""
    monkeypatch.setattr(judge_endpoint, "TRIES", 1)
    away = [False]

    def behave(request: Request, before: int) -> Body | Fault:
        return Fault(503) if before > 40 and away[0] else rating(request)

    with serving(behave) as endpoint:
        judge = {"name": "house", "kind": "openai", "model": "j", "url": endpoint.url, "key_env": None, "options": {}}
        spec = steer_spec(severe, judge=judge, test_limit=8, decomposition=False)
        away[0] = True
        first = context(severe, extracted)
        with pytest.raises(TransientFault):
            steering.run(spec, first)
        away[0] = False
        second = context(severe, extracted, cells=first.cells)
        outcome = files(steering.run(spec, second))
        undisturbed = files(steering.run(spec, context(severe, extracted)))
    texts = {name for name in first.committed if name.startswith("texts/")}
    assert texts
    assert any(f"run/{name.removeprefix('texts/')}" not in first.committed for name in texts)
    assert not texts & set(second.committed)
    assert outcome["runs.jsonl"] == undisturbed["runs.jsonl"]
    assert outcome["responses.jsonl"] == undisturbed["responses.jsonl"]
    answers = [json.loads(line) for line in outcome["responses.jsonl"].splitlines()]
    assert all(answer["raw"]["log_likelihood"] < 0 for answer in answers if answer["ids"])


def test_at_equal_raw_coefficients_mean_diff_has_a_smaller_dose_than_the_probe(severe: LanguageModel, extracted: Files) -> None:
    """At the probe's coefficient mean_diff has a smaller dose, because most of it lies in the massive dim."""
    found = summary_of(
        severe, extracted, doses=None, coefficients=[20.0], matched=[], decomposition=False, controls=NO_CONTROLS, **FEW
    )
    groups = {one["method"]: one["best"] for one in found["groups"]}
    assert groups["probe"]["c"] == groups["mean_diff"]["c"] == 20
    assert groups["mean_diff"]["r"] < 0.9 * groups["probe"]["r"]


def test_layers_pushed_together_have_a_dose_each(severe: LanguageModel, extracted: Files) -> None:
    source = {"job": "job_ext", "methods": ["probe"], "layers": None, "positions": None, "components": None}
    found = summary_of(
        severe,
        extracted,
        **{"from": [source]},
        combine=True,
        doses=[0.3],
        matched=["dose", "coefficient", "divergence"],
        sampling={"temperature": 0.7, "top_p": 1.0, "seed": 0},
        controls=NO_CONTROLS | {"shuffled": 1},
        decomposition=False,
        **FEW,
    )
    [group] = found["groups"]
    assert group["layers"] == [2, 3]
    [shuffled] = group["controls"]["shuffled"]
    assert shuffled["r_sum"] == pytest.approx(0.6)
    assert group["best"]["r_sum"] == pytest.approx(0.6)
    assert len(group["best"]["c"]) == 2
    assert group["unreachable"] == {"coefficient": SEVERAL_LAYERS, "divergence": SAMPLED}


@pytest.mark.parametrize("operation", ["ablate", "norm_match"])
def test_other_operations_run_and_are_reported(severe: LanguageModel, extracted: Files, operation: str) -> None:
    source = {"job": "job_ext", "methods": ["probe"], "layers": [3], "positions": None, "components": None}
    changes = {"doses": None} if operation == "ablate" else {"doses": [0.5]}
    found = summary_of(
        severe, extracted, **{"from": [source]}, operation=operation, controls=NO_CONTROLS, decomposition=False, **FEW, **changes
    )
    [group] = found["groups"]
    assert group["best"]["effect"]["fires"] > 0
    dose = (None, None, None) if operation == "ablate" else (0.5, 0.5, None)  # norm_match: c is a multiple of each token's norm
    assert tuple(group["best"][name] for name in ("r", "c", "r_raw")) == dose


def test_all_runs_have_different_names_on_the_answers_page(severe: LanguageModel, extracted: Files) -> None:
    """With two positions, controls and decompositions, the words of the answers page differ for all runs."""
    vectors = load_safetensors(extracted["job_ext", "vectors.safetensors"])
    document = json.loads(extracted["job_ext", "extraction.json"])
    own = {key: vectors[key] for key in vectors if key.endswith("/3") and "mean_diff_cleaned" not in key}
    for at, (key, vector) in enumerate(own.items()):
        other = key.replace("response[:5]", "response[:]")
        noise = np.random.default_rng(at).standard_normal(len(vector)).astype(vector.dtype)
        vectors[other] = vector + 0.1 * np.linalg.norm(vector) * noise / np.linalg.norm(noise)
        document["vectors"] += [{**one, "key": other} for one in document["vectors"] if one["key"] == key]
    changed = {
        ("job_ext", "vectors.safetensors"): to_bytes(vectors),
        ("job_ext", "extraction.json"): json.dumps(document).encode(),
    }
    [source] = steer_spec(severe)["from"]
    spec = steer_spec(
        severe, doses=[0.3], budget=1, controls={"random": 2, "shuffled": 1, "prompt_only": True},
        **{"from": [{**source, "methods": ["mean_diff", "probe"]}]}, **FEW,
    )  # fmt: skip
    lines = files(steering.run(spec, context(severe, {**extracted, **changed})))["runs.jsonl"].splitlines()
    described = [json.loads(line) for line in lines]
    named: dict[tuple[str, str, str], set[str]] = {}
    for set_ in ("selection", "test"):
        for method in answered.chosen(described, set_=set_).methods:
            for run in answered.chosen(described, set_=set_, method=method).doses:
                named.setdefault((set_, method, answered.where(run)), set()).add(run["run"])
    assert {words: runs for words, runs in named.items() if len(runs) > 1} == {}
    assert {run for runs in named.values() for run in runs} == {one["run"] for one in described}
    assert ("test", "probe at response[:], residual", "layer 3, dose 0.3") in named
    assert ("test", "mean_diff at response[:5], residual", "massive part, layer 3, dose 0.3") in named
    assert ("test", "asked in the prompt", "") in named


def test_a_prompt_that_asks_for_the_trait_is_a_control(severe: LanguageModel, extracted: Files) -> None:
    spec = steer_spec(severe, doses=[0.5], controls={"random": 0, "shuffled": 0, "prompt_only": True}, decomposition=False, **FEW)
    written = files(steering.run(spec, context(severe, extracted)))
    assert json.loads(written["summary.json"])["prompt_only"]["n"] == FEW["test_limit"]
    runs = [json.loads(line) for line in written["runs.jsonl"].splitlines()]
    assert [answered.method_of(run, frozenset()) for run in runs if "prompt_only" in run["roles"]] == ["asked in the prompt"]


def test_whether_beginnings_were_shared_is_in_the_provenance(whole: dict[str, bytes]) -> None:
    assert json.loads(whole["summary.json"])["provenance"]["batch_plan"]["prefix"] == "shared"


def test_changed_weights_are_refused(severe: LanguageModel, extracted: Files) -> None:
    with pytest.raises(JobFault, match="weights_changed"):
        steering.run(steer_spec(severe, weight_hash="0" * 64), context(severe, extracted))


def test_the_comparison_at_the_probe_s_raw_coefficient_is_reported(severe: LanguageModel, extracted: Files) -> None:
    """At equal c mean_diff has a smaller dose, by its share outside the massive dims, and a smaller gain."""
    matched = ["dose", "coherence", "coefficient"]
    spec = steer_spec(severe, matched=matched, reference_protocol=True, decomposition=False, controls=NO_CONTROLS, test_limit=12)
    written = files(steering.run(spec, context(severe, extracted)))
    summary = json.loads(written["summary.json"])
    groups = {one["method"]: one for one in summary["groups"]}
    at_c = {method: groups[method]["matched"]["coefficient"] for method in ("mean_diff", "probe")}
    assert at_c["mean_diff"]["c"] == pytest.approx(groups["probe"]["best"]["c"])
    assert at_c["probe"]["run"] == groups["probe"]["best"]["run"]
    assert at_c["mean_diff"]["r"] < 0.8 * groups["probe"]["best"]["r"]
    assert at_c["mean_diff"]["delta"] < groups["mean_diff"]["matched"]["dose"]["delta"]
    assert {one["b"] for one in summary["contrasts"]["coefficient"]} | {
        one["a"] for one in summary["contrasts"]["coefficient"]
    } == {one["group"] for one in summary["groups"]}
    protocol = summary["reference_protocol"]
    assert protocol["questions"] == 10
    rows = {one["group"]: one for one in protocol["rows"]}
    assert set(rows) == {one["group"] for one in summary["groups"]}
    tried = [round(times * protocol["around"]["c"], 3) for times in protocol["around"]["times"]]
    assert all(any(abs(row["c"] - c) < 0.01 for c in tried) for row in rows.values())
    roles = {(one["set"], role) for one in map(json.loads, written["runs.jsonl"].splitlines()) for role in one["roles"] or [None]}
    assert roles >= {
        ("reference", "reference"),
        ("reference", "unsteered"),
        ("selection", "matching"),
        ("test", "matched_coherence"),
    }
    assert None not in {role for _, role in roles}


def test_vectors_are_tried_on_other_traits_under_those_traits_own_judges(severe: LanguageModel, extracted: Files) -> None:
    other = shipped_datasets()[TRAIT_NAMES.index("sycophancy")]
    content = json.loads(other.data)
    fewer = content | {name: content[name][::3] for name in ("positive", "negative")}  # enough to fit its judge
    spec = spec_of(
        severe, trait={"name": "sycophancy", "version": other.version}, layers=[3], methods=["probe"], controls=[], refits=[]
    )
    calibrated = extracted["job_cal", "calibration.json"]
    calibration = {("job_cal", "calibration.json"): calibrated}
    own = FakeContext(severe, blobs={other.version: json.dumps(fewer).encode()}, artifacts=calibration)
    answers = files(extraction.run(spec | {"max_new_tokens": 24}, own))["responses.jsonl"]
    spec = steer_spec(
        severe,
        doses=[0.3],
        decomposition=False,
        controls=NO_CONTROLS,
        off_target=[{"trait": {"name": "sycophancy", "version": other.version}, "extraction": "job_other"}],
    )
    found = FakeContext(
        severe,
        blobs={TRAIT.version: TRAIT.data, other.version: other.data},
        artifacts={**extracted, ("job_other", "responses.jsonl"): answers},
    )
    outcome = files(steering.run(spec, found))
    summary = json.loads(outcome["summary.json"])
    assert [one["trait"] for one in summary["off_target"]] == ["sycophancy"]
    effects = {one["method"]: one["off_target"]["sycophancy"] for one in summary["groups"]}
    assert effects["probe"]["n"] == 22
    assert effects["probe"]["delta_low"] is not None
    assert summary["off_target"][0]["unsteered"]["trait"] > 5  # the baseline of sycophancy, not of refusal
    texts = [json.loads(line) for line in outcome["responses.jsonl"].splitlines()]
    assert sum(one["set"] == "off_target:sycophancy" for one in texts) == 22 * 4
    roles = {role for line in outcome["runs.jsonl"].splitlines() for role in json.loads(line)["roles"]}
    assert "off_target" in roles


def test_rescoring_scores_the_stored_texts_and_keeps_the_chosen_doses(
    severe: LanguageModel, extracted: Files, whole: dict[str, bytes]
) -> None:
    """The same judge gives the same numbers; tests/judges rescores with an endpoint. A stricter coherence threshold lowers the joint gains."""
    spec = steer_spec(severe)
    asked = {
        "kind": "rescore", "steering": "str_1", "job": "job_steer", "judge": spec["judge"], "coherence_threshold": 70, "responses_given": False,
        **{name: spec[name] for name in ("model", "weight_hash", "trait", "extraction", "seed")},
    }  # fmt: skip
    stored = {("job_steer", name): data for name, data in whole.items()}
    found = context(severe, {**extracted, **stored})
    with afresh():
        again = json.loads(files(rescore.run(asked, found))["summary.json"])
    first = json.loads(whole["summary.json"])
    assert again["rescored_from"]["job"] == "job_steer"
    for old, new in zip(first["groups"], again["groups"], strict=True):
        for name in ("best", "matched", "controls", "decomposition"):
            assert new[name] == old[name], (old["group"], name)
    for way in ("dose", "best"):
        assert again["contrasts"][way] == first["contrasts"][way]
    assert again["subjects"] == first["subjects"]
    rescored = files(rescore.run(asked, context(severe, {**extracted, **stored}, cells=found.cells)))
    for name in ("runs.jsonl", "results.jsonl"):
        assert [json.loads(line) for line in rescored[name].splitlines()] == [
            json.loads(line) for line in whole[name].splitlines()
        ]
    with pytest.raises(JobFault, match=r"weights_changed: The texts were made with .* Steer again"):
        rescore.run(asked | {"weight_hash": "0" * 64}, context(severe, {**extracted, **stored}))
    strict = asked | {"coherence_threshold": 99.9}
    joint = [one["best"]["delta_joint"] for one in json.loads(files(rescore.run(strict, found))["summary.json"])["groups"]]
    assert all(new < old["best"]["delta_joint"] for old, new in zip(first["groups"], joint, strict=True))


def test_a_rescore_reports_progress_within_a_run_while_its_judge_is_slow(
    severe: LanguageModel, extracted: Files, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of many answers under a judge with few requests a minute takes longer than a phase may be silent."""
    monkeypatch.setattr("workers.judges.waiting.LOOK_SECONDS", 0.001)
    with serving(lambda request, _before: rating(request)) as endpoint:
        judge = {"name": "house", "kind": "openai", "model": "j", "url": endpoint.url, "key_env": None}
        asked = {
            name: value
            for name, value in steer_spec(severe).items()
            if name in ("model", "weight_hash", "trait", "extraction", "seed")
        }
        asked |= {"job": "job_steer", "coherence_threshold": 70, "responses_given": False}
        found = context(severe, {("job_steer", name): data for name, data in whole.items()})
        rescore.run(asked | {"judge": judge | {"options": {"relevance": False, "concurrency": 1}}}, found)
    counts = [done for phase, done in found.reports if phase == "scoring"]
    assert counts == sorted(counts)
    assert len(counts) > 2 * len(set(counts))
