"""For tests of studies: the request of a small study, checks of its results.jsonl, and labelling of its sheet."""

import csv
import json
from typing import Any

import httpx2 as httpx
import pytest

import binnacle

STUDY = {
    "models": ["demo-severe"],
    "traits": ["refusal"],
    "methods": ["mean_diff", "probe", "random"],
    "layers": [3],
    "budget": 3,
    "max_new_tokens": 16,
    "calibration_new_tokens": 16,
    "selection_limit": 6,
    "test_limit": 24,
    "resamples": 2,
    "controls": {"random": 1, "shuffled": 1, "prompt_only": False},
    "reference_protocol": True,
    "capability": [
        {"question": f"what is {one} plus {two} ?", "answer": answer}
        for one, two, answer in (("one", "one", "two"), ("two", "two", "four"), ("two", "three", "five"), ("one", "three", "four"))
    ],
    "published": [
        {
            "model": "demo-severe", "trait": "refusal", "method": "mean_diff", "value": 0.0, "definition": "at the probe's coefficient",
            "source": "a test",
        }
    ],
}  # fmt: skip


def check_results_file(text: str, runs: list[dict[str, Any]]) -> None:
    """Asserts that results.jsonl has the layout of trait-interp: a header, the baseline, and one line per run with its vectors and weights."""
    header, baseline, *lines = (json.loads(line) for line in text.splitlines())
    assert header.keys() >= {"trait", "direction", "steering_model", "vector_source", "eval", "prompts_hash", "n_questions"}
    assert (header["type"], baseline["type"]) == ("header", "baseline")
    assert (header["trait"], header["n_questions"]) == ("refusal", 24)
    by_push = {(one["config"]["vectors"][0]["method"], round(one["config"]["vectors"][0]["weight"], 3)): one for one in lines}
    for run in runs:
        line = by_push[run["vector"]["method"], round(run["c"], 3)]
        assert line["result"]["trait_mean"] == run["trait"]
        assert line["result"]["n"] == run["n"]
        assert line["result"]["delta"] == pytest.approx(run["trait"] - baseline["result"]["trait_mean"], abs=0.02)
        [vector] = line["config"]["vectors"]
        assert vector.keys() == {"layer", "component", "position", "method", "weight"}
    for line in (baseline, *lines):
        result = line["result"]
        assert result.keys() >= {"trait_mean", "trait_std", "success_rate", "min_score", "max_score", "coherence_mean", "n"}
        assert result["min_score"] <= result["trait_mean"] <= result["max_score"]
        assert 0 <= result["success_rate"] <= 1


def labelled(
    service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any], sign: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Labels the sheet with the scores of the judge (`sign` 1) or their opposites (-1); returns tables.json and facts of the new report."""
    client, http = service
    sheet = list(csv.DictReader(http.get(study["links"]["labelling.csv"]).text.splitlines()))
    assert {tuple(row) for row in sheet} == {("id", "trait", "question", "answer", "label")}
    assert 30 <= len(sheet) <= 50
    assert {row["label"] for row in sheet} == {""}  # the sheet shows no scores
    job = study["nodes"]["steer/demo-severe/refusal"]["job"]
    texts = [json.loads(line) for line in http.get(f"/v1/steerings/{job}/responses.jsonl").text.splitlines()]
    scores = {(one["question"], one["text"]): one["trait"] for one in texts if one["set"] == "test"}
    labels = {row["id"]: 50 + sign * (scores[row["question"], row["answer"]] - 50) for row in sheet}
    made = http.post(f"/v1/studies/{study['id']}/labels", json={"labels": labels})
    assert made.status_code == 202, made.text
    done = client.wait(made.json()["id"], timeout=120)
    assert done["state"] == "succeeded"
    return http.get(f"/v1/studies/{done['id']}/tables.json").json(), http.get(f"/v1/studies/{done['id']}").json()
