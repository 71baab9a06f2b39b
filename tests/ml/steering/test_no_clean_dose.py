"""A vector almost wholly in massive dims has no clean dose: it is steered with at raw coefficients, and no result gives it a dose."""

import json
import re

import pytest
from safetensors.torch import load, save

from app.pages.results.steering import sections
from binnacle.words.massive import massive_at
from tests.ml.handlers.test_extraction_handler import files
from tests.ml.steering_jobs import FEW, NO_CONTROLS, Files, _fitted_once, context, extracted, severe, steer_spec, summary_of
from tests.reports.gathering import STUDY, gathered
from workers.handlers import steering
from workers.lm.model import LanguageModel
from workers.reports.document import build
from workers.steering.outcome import short_summary

__all__ = ["_fitted_once", "extracted", "severe"]
COEFFICIENT = 20.0


@pytest.fixture(scope="module")
def with_massive_vectors(extracted: Files) -> Files:
    """The extraction with a `mean_diff` that is 99.75 % one massive dim, and a `mean_diff_cleaned` that is nothing else."""
    [dim, *_] = massive_at(json.loads(extracted["job_cal", "calibration.json"])["aggregate"], 3)
    vectors = load(extracted["job_ext", "vectors.safetensors"])
    nearly, wholly = (vectors[f"response[:5]/residual/{method}/3"] for method in ("mean_diff", "mean_diff_cleaned"))
    clean_D = wholly.clone()
    clean_D[dim] = 0
    nearly.copy_(0.05 * clean_D / clean_D.norm())[dim] = 0.9975**0.5
    wholly.zero_()[dim] = 1.0
    return extracted | {("job_ext", "vectors.safetensors"): save(vectors)}


def test_no_result_of_the_vector_gives_a_dose(severe: LanguageModel, with_massive_vectors: Files) -> None:
    """The raw dose was once given as its dose, and its run was compared with the others as one at equal dose."""
    asked = steer_spec(
        severe, doses=None, coefficients=[COEFFICIENT], matched=["dose", "coherence", "coefficient"],
        controls={"random": 1, "shuffled": 0, "prompt_only": False}, **FEW,
    )  # fmt: skip
    made = files(steering.run(asked, context(severe, with_massive_vectors)))
    summary = json.loads(made["summary.json"])
    groups = {one["method"]: one for one in summary["groups"]}
    subjects = {one["method"]: one for one in summary["subjects"]}
    massive, probe = groups["mean_diff"], groups["probe"]
    assert (subjects["mean_diff"]["has_clean_dose"], subjects["mean_diff"]["best_r"]) == (False, None)
    [unit] = subjects["mean_diff"]["unit_norm"]
    for one in (massive["best"], *subjects["mean_diff"]["curve"], massive["matched"]["coefficient"]):
        assert (one["r"], one["c"], one["r_raw"]) == (None, COEFFICIENT, pytest.approx(COEFFICIENT / unit, abs=1e-4))
    assert massive["matched"]["dose"] is None
    assert "no clean dose" in massive["unreachable"]["dose"]
    assert not any(massive["group"] in (one["a"], one["b"]) for one in summary["contrasts"]["dose"])
    assert probe["matched"]["dose"]["r"] == probe["best"]["r"] == pytest.approx(COEFFICIENT / unit, rel=0.05)
    assert massive["controls"]["random"][0]["c"] == COEFFICIENT, "its control has its coefficient"
    parts = {name: one["c"] for name, one in massive["decomposition"]["arms"].items()}
    assert parts == {"clean": pytest.approx(1.0, abs=1e-3), "massive": pytest.approx(19.975, abs=1e-3), "both": COEFFICIENT}
    assert groups["mean_diff_cleaned"]["decomposition"] is None, "its clean part is 0 and cannot steer"
    lines = [json.loads(line) for line in made["runs.jsonl"].splitlines()]
    own = [one for one in lines if one["vector"] and one["vector"]["name"] == subjects["mean_diff"]["name"]]
    assert own
    assert not [one for one in own if one["r"] is not None or re.search(r"-r\d", one["run"])]


def test_a_report_and_a_page_name_the_vectors_that_were_not_compared(severe: LanguageModel, with_massive_vectors: Files) -> None:
    """At given or searched doses such a vector is not run. Every table left it out, and the report said that mean_diff was not run."""
    asked = {"matched": ["dose"], "decomposition": False, "controls": NO_CONTROLS, **FEW}
    summary = summary_of(severe, with_massive_vectors, **asked)
    assert [group["method"] for group in summary["groups"]] == ["probe"]
    report = build(STUDY, gathered({"refusal": summary}))
    tables = {section["table"].id: section["table"].rows for section in report.sections if "table" in section}
    verdicts = {row["method"]: row.get("verdict") for row in tables["methods"]}
    assert verdicts["mean_diff"] == verdicts["mean_diff_cleaned"] == "not compared: no clean dose"
    assert tables["severity"][0]["why"] == "refusal: not compared at equal dose: no clean dose"
    [named] = [part for part in sections(summary, "job_1").cost if getattr(part, "title", "") == "What was not compared"]
    assert named.rows == [["mean_diff", "no clean dose"], ["mean_diff_cleaned", "no clean dose"]]
    methods = ("mean_diff", "mean_diff_cleaned")
    assert short_summary(summary)["left_out"] == {f"response[:5]/residual/{method}": "no clean dose" for method in methods}


def test_a_shuffled_control_without_a_clean_dose_is_named(severe: LanguageModel, extracted: Files) -> None:
    """It was dropped without a word."""
    [dim, *_] = massive_at(json.loads(extracted["job_cal", "calibration.json"])["aggregate"], 3)
    vectors = load(extracted["job_ext", "vectors.safetensors"])
    [key] = (one for one in vectors if "shuffled" in one and one.endswith("/3"))
    vectors[key].zero_()[dim] = 1.0
    source = {"job": "job_ext", "methods": ["probe"], "layers": [3], "positions": None, "components": None}
    asked = {
        "from": [source],
        "doses": [0.5],
        "matched": [],
        "controls": {"random": 0, "shuffled": 1, "prompt_only": False},
        **FEW,
    }
    found = summary_of(severe, extracted | {("job_ext", "vectors.safetensors"): save(vectors)}, **asked)
    [group] = found["groups"]
    assert group["controls"]["shuffled"] == []
    [(name, why)] = group["controls_left_out"].items()
    assert name.startswith(group["group"])
    assert "no clean dose" in why
